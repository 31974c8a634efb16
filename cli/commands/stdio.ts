import type { Readable, Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import type { TunnelService } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { MAX_DATA_BYTES } from '../../protocol/codec/frames.ts'
import { parseTarget } from '../../protocol/codec/target.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { collectInOneGo } from '../collector.ts'
import { withTunnel } from '../connect.ts'
import type { AccessOptions } from '../credentials.ts'
import { type Definition, namesOf, optionsOf } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { machineOfHost } from '../host-alias.ts'
import { checkMachineOf } from '../machine-name.ts'
import { narrate } from '../narrate.ts'
import { standardInput, standardOutput } from '../standard-streams.ts'
import { signalStatus, stopSignal } from '../stop.ts'
import { folded, Notices } from '../terminal.ts'
import { SSH_PATIENCE_MS, waitOut } from '../wait-out.ts'

// No commander here: ssh waits for this process before its first byte.

export const definition: Definition = {
  name: 'stdio',
  usage: '[options] MACHINE [HOST:PORT]',
  does: [
    "Carries bytes between stdin/stdout and the machine's sshd, sealed: for ssh's ProxyCommand. HOST:PORT names another",
    'address, which the agent must allow. MACHINE may end in .tunnel, so that a section "Host *.tunnel" of ssh\'s',
    'configuration can use %n. On a terminal it says when the link is lost and when it is resumed.',
  ].join(' '),
  examples: [
    "ssh -o 'ProxyCommand=tunnel stdio %n' me@home",
    "scp -o 'ProxyCommand=tunnel stdio %n' big.iso home:",
  ],
  arguments: [
    { name: '<machine>', does: 'its name', values: 'machine' },
    { name: '[host:port]', does: 'another address than that of its sshd' },
  ],
}

interface StdioFlags extends AccessOptions {
  help?: boolean
}

function read(argv: string[]): { values: StdioFlags; positionals: string[] } {
  const options: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } }
  for (const option of optionsOf(definition)) {
    const { long, value } = namesOf(option)
    options[long] = { type: value === undefined ? 'boolean' : 'string', multiple: option.repeats === true }
  }
  try {
    return parseArgs({ args: argv, options, allowPositionals: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message.split('. To specify')[0]! : String(error))
  }
}

export async function run(argv: string[]): Promise<number> {
  const { values, positionals } = read(argv)
  if (values.help === true) {
    ;(await import('../command.ts')).showHelp(definition)
    return EXIT.ok
  }
  const [host, target, ...more] = positionals
  if (host === undefined || more.length > 0)
    throw new UsageError('name one machine: tunnel stdio MACHINE [HOST:PORT]')
  const machine = machineOfHost(host, values.context)
  checkMachineOf(machine)
  if (target !== undefined && parseTarget(target) === undefined)
    throw new UsageError(`an address is HOST:PORT, not "${target}"`)
  collectInOneGo()
  const isTerminal = isatty(2)
  const say = (line: string): void => {
    if (isTerminal) process.stderr.write(`\r\n${folded(`tunnel: ${line}`)}\r\n`)
  }
  const request = { machine, kind: 'ssh', ...(target !== undefined && { target }) } as const
  const parent = process.ppid
  const input = standardInput()
  // ssh says its version at once: that is here before there is a link.
  if (!isatty(0)) input.read(0)
  const carry = async (tunnel: TunnelService): Promise<number> => {
    const first = firstOf(input)
    // The far side is told of whatever ends this, or it would keep the stream, and its place among the logins, for the
    // resume window. With Ctrl-C two signals come at once: the terminal's, and that by which ssh ends its ProxyCommand.
    const stopped = stopSignal({ hurry: () => {} })
    const abort = new AbortController()
    const open = async () => {
      // One whose ssh has given up, and which could wait for minutes, stands in the way of those that have not.
      if (process.ppid !== parent) throw new TunnelError('ABORTED', 'ssh has gone', { hop: 'client' })
      return tunnel.open({ ...request, signal: abort.signal, ...(first && { first }) })
    }
    const opened = waitOut(open, say, { patienceMs: SSH_PATIENCE_MS })
    const stream = await Promise.race([opened, stopped])
    if (typeof stream === 'string') {
      abort.abort()
      // What it says of that nobody reads any more.
      opened.catch(() => {})
      return signalStatus(stream)
    }
    if (isTerminal) narrate(tunnel, stream, machine, new Notices())
    // An SSH server that has ended listens no longer, and a person has no reason to type on. Other protocols half-close.
    const isWhole = target === undefined || isatty(0)
    // Whoever types waits for an answer.
    input.on('data', () => {
      if (tunnel.state === 'reconnecting') tunnel.retryNow()
    })
    const ended = await Promise.race([join(stream, input, standardOutput(), isWhole), stopped])
    if (typeof ended === 'number') return ended
    const isOver = ended === 'SIGHUP'
    if (isOver) await endInOrder(stream)
    stream.destroy()
    return isOver ? EXIT.ok : signalStatus(ended)
  }
  return withTunnel(values, carry, { say, notice: say, patienceMs: SSH_PATIENCE_MS })
}

/** What has been read already, as much of it as fits on an OPEN. */
function firstOf(input: Readable): Buffer | undefined {
  const byteCount = Math.min(input.readableLength, MAX_DATA_BYTES)
  return byteCount === 0 ? undefined : (input.read(byteCount) ?? undefined)
}

/** How long the far side has to end a stream whose `ssh` has ended, in ms. */
const END_MS = 2_000

/** ssh ends its ProxyCommand with SIGHUP when it has had all that it wanted: that is no stream given up. */
function endInOrder(stream: StreamDuplex): Promise<void> {
  stream.unpipe().resume().end()
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, END_MS)
    stream.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/**
 * Copies both ways until both halves are over; each half ends on its own.
 * @param isWhole with the machine's half the other one is over as well
 */
function join(stream: StreamDuplex, from: Readable, to: Writable, isWhole: boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    from.on('error', () => stream.end())
    to.on('error', () => {
      // ssh has gone: so has the reason for this stream.
      stream.destroy()
      resolve(EXIT.brokenPipe)
    })
    stream.on('error', (error) => {
      from.destroy()
      reject(error)
    })
    stream.on('close', () => {
      from.destroy()
      // A terminal is never finished.
      if (isatty(1) || to.writableFinished || to.destroyed) resolve(EXIT.ok)
      else to.on('finish', () => resolve(EXIT.ok))
    })
    from.pipe(stream)
    stream.pipe(to)
    if (!isWhole) return
    stream.on('end', () => {
      from.unpipe(stream)
      stream.end()
    })
  })
}
