import type { TunnelService } from '../../client/index.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { withTunnel } from '../connect.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { checkMachineOf } from '../machine-name.ts'
import { passSignals } from '../pass-signals.ts'
import { tellAside } from '../prose.ts'
import { signalStatus } from '../stop.ts'

export const definition: Definition = {
  name: 'exec',
  usage: '[options] MACHINE -- COMMAND…',
  does: [
    'Runs one command on a machine. It streams stdin to the command, keeps stdout and stderr apart, and exits',
    "with the command's status. One word is a line for the machine's shell; several words are passed on as they",
    'are. The first Ctrl-C is passed on to the command, the second ends the connection.',
  ].join(' '),
  examples: [
    'tunnel exec home -- uname -a',
    "tunnel exec home -- 'df -h | tail -1'",
    'tar cz site | tunnel exec home -- tar xz -C /srv',
  ],
  arguments: [
    { name: '<machine>', does: 'its name', values: 'machine' },
    { name: '[command...]', does: 'behind --' },
  ],
  passesThrough: true,
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const [machine = '', ...rest] = made.args
  checkMachineOf(machine)
  const words = rest[0] === '--' ? rest.slice(1) : rest
  // Behind the machine and before `--` it would be taken for the command.
  if (rest.length > 1 && rest[0]?.startsWith('--') && rest[0] !== '--')
    throw new UsageError(`put ${rest[0].split('=')[0]} before the machine, and -- before the command`)
  if (words.length === 0) throw new UsageError('name the command: tunnel exec MACHINE -- COMMAND…')
  return execute(made.opts<CommonOptions>(), machine, words)
}

async function execute(options: CommonOptions, machine: string, words: string[]): Promise<number> {
  const command = words.length === 1 ? (words[0] ?? '') : words
  const abort = new AbortController()
  let sendSignal: ((name: string) => void) | undefined
  const asked = passSignals({
    command: 'tunnel exec',
    send(name) {
      // Behind the end of its input nothing can follow.
      if (sendSignal === undefined || process.stdin.readableEnded) return false
      sendSignal(name)
      return true
    },
    end: () => abort.abort(),
  })
  try {
    const use = async (tunnel: TunnelService): Promise<number> => {
      const control = (send: (name: string) => void): void => {
        sendSignal = send
      }
      const { stdin, stdout, stderr } = process
      const result = await tunnel.exec(machine, command, {
        stdin,
        stdout,
        stderr,
        signal: abort.signal,
        control,
      })
      if (result.exitCode !== null) return result.exitCode
      tellAside(`tunnel exec: the command was ended by SIG${result.signal}\n`)
      return signalStatus(`SIG${result.signal}`)
    }
    return await withTunnel(options, use, { signal: abort.signal })
  } catch (error) {
    if (abort.signal.aborted && asked.first !== undefined) return signalStatus(asked.first)
    throw error
  }
}
