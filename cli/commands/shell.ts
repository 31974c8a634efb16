import type { Readable, Writable } from 'node:stream'
import type { Shell, TunnelService } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { isTermName, type Terminal } from '../../protocol/codec/heads.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { withTunnel } from '../connect.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { checkMachineOf } from '../machine-name.ts'
import { narrate } from '../narrate.ts'
import { passSignals } from '../pass-signals.ts'
import { tellAside } from '../prose.ts'
import { ESCAPE_HELP, EscapeReader } from '../shell/escapes.ts'
import { RawTerminal, terminalSize } from '../shell/raw-terminal.ts'
import { signalStatus, untilStopped } from '../stop.ts'
import { Notices } from '../terminal.ts'
import { waitOut } from '../wait-out.ts'

export const definition: Definition = {
  name: 'shell',
  usage: '[options] MACHINE',
  does: [
    "A prompt on a machine: the login shell of its agent's user, inspected, on a terminal like yours. It exits",
    "with the shell's status, or with 255 when the tunnel fails. After a newline, ~. ends the connection, ~^Z",
    'suspends it, and ~? lists these escapes. Where stdin is not a terminal, the shell has none either: it reads',
    'commands from the pipe.',
  ].join(' '),
  examples: ['tunnel shell home', "echo 'df -h; exit 3' | tunnel shell home"],
  arguments: [{ name: '<machine>', does: 'its name', values: 'machine' }],
}

/** How long the far side has to be told that we end, in ms. */
const END_MS = 500

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const [machine = ''] = made.args
  checkMachineOf(machine)
  const options = made.opts<CommonOptions>()
  const abort = new AbortController()
  if (!process.stdin.isTTY) return runPiped(options, machine, abort)
  const say = (line: string): void => tellAside(`tunnel: ${line}\n`)
  const work = withTunnel(
    options,
    async (tunnel) => {
      const request = { ...terminal(), signal: abort.signal }
      return runOnTerminal(tunnel, await waitOut(() => tunnel.shell(machine, request), say), machine)
    },
    { say },
  )
  return untilStopped(work, abort, () => END_MS)
}

function terminal(term = process.env.TERM ?? ''): Terminal {
  return { ...terminalSize(), term: isTermName(term) ? term : 'dumb' }
}

async function runOnTerminal(tunnel: TunnelService, shell: Shell, machine: string): Promise<number> {
  const { stdin, stderr } = process
  const { stream } = shell
  const raw = new RawTerminal((size) => shell.resize(size))
  const escapes = new EscapeReader()
  narrate(tunnel, stream, machine, new Notices())
  raw.enter()
  const givenUp = new Promise<number>((resolve) => {
    stdin.on('data', (typed: Buffer) => {
      // Whoever types waits for an answer.
      if (tunnel.state === 'reconnecting') tunnel.retryNow()
      for (const part of escapes.take(typed)) {
        if (part === 'suspend') raw.suspend()
        else if (part === 'help') stderr.write(`\r\n${ESCAPE_HELP.join('\r\n')}\r\n`)
        else if (part === 'close') {
          // The cursor stands behind a prompt.
          stderr.write('~.\r\n')
          resolve(EXIT.remote)
        } else if (!stream.write(part)) stdin.pause()
      }
    })
  })
  stream.on('drain', () => stdin.resume())
  stdin.on('end', () => stream.end())
  try {
    return await Promise.race([outcome(shell, machine), givenUp])
  } finally {
    stdin.pause()
    stream.destroy()
    raw.leave()
    tellAside(`Connection to ${machine} closed.\n`)
  }
}

async function runPiped(options: CommonOptions, machine: string, abort: AbortController): Promise<number> {
  const { stdin } = process
  let running: Shell | undefined
  const asked = passSignals({
    command: 'tunnel shell',
    send(name) {
      // Behind the end of its input nothing can follow.
      if (running === undefined || running.stream.writableEnded) return false
      running.signal(name)
      return true
    },
    end: () => abort.abort(),
  })
  try {
    const use = async (tunnel: TunnelService): Promise<number> => {
      const shell = await waitOut(
        () => tunnel.shell(machine, { signal: abort.signal }),
        () => {},
      )
      running = shell
      stdin.pipe(shell.stream)
      return outcome(shell, machine)
    }
    return await withTunnel(options, use, { signal: abort.signal })
  } catch (error) {
    if (abort.signal.aborted && asked.first !== undefined) return signalStatus(asked.first)
    throw error
  }
}

/** The status of the shell, when it has ended and all that it wrote has been taken. */
async function outcome(shell: Shell, machine: string): Promise<number> {
  const { stdout, stderr } = process
  await Promise.all([copied(shell, shell.stream, stdout), copied(shell, shell.stderr, stderr)])
  const { exit } = shell
  if (exit === undefined)
    throw new TunnelError('AGENT_LOST', `the shell on ${machine} ended without a status`, { hop: 'ssh' })
  if ('code' in exit) return exit.code
  tellAside(`tunnel shell: the shell was ended by SIG${exit.signal}\n`)
  return signalStatus(`SIG${exit.signal}`)
}

/** Copies one of a shell's outputs to its end. */
function copied({ stream }: Shell, from: Readable, to: Writable): Promise<void> {
  return new Promise((resolve, reject) => {
    to.once('error', (cause) =>
      stream.destroy(new TunnelError('ABORTED', 'the output takes no more', { cause, hop: 'client' })),
    )
    stream.once('error', reject)
    from.once('end', () => {
      // Nobody is there to type for.
      stream.end()
      resolve()
    })
    from.pipe(to)
  })
}
