import type { StreamEvent } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ChannelLease } from '../pool/index.ts'
import type { CommandChannel, CommandExit } from '../ssh/index.ts'
import { serveChannel } from './channel.ts'
import { commandLost, requestGone } from './errors.ts'
import type { ServeContext } from './serve.ts'

/** RFC 4254, section 6.10: the names that SSH has for signals. */
const SIGNALS: ReadonlySet<string> = new Set([
  ...['ABRT', 'ALRM', 'FPE', 'HUP', 'ILL', 'INT', 'KILL', 'PIPE', 'QUIT', 'SEGV', 'TERM', 'USR1', 'USR2'],
])

interface SessionOptions {
  timeoutMs: number
  signal: AbortSignal
  onExit: (exit: CommandExit) => void
}

/**
 * Joins a stream with a command or a shell: DATA is stdin and stdout, AUX stderr, the opener's events are signals and a
 * terminal's size; the exit status or signal is an event before the end.
 * @param start starts it on a connection
 */
export async function serveSession(
  stream: ByteStream,
  context: ServeContext,
  start: (connection: ChannelLease['connection'], options: SessionOptions) => Promise<CommandChannel>,
): Promise<void> {
  const { timeoutMs } = context
  let running: CommandChannel | undefined
  /** What came before there was anything to send it to: signals in their order, and the last size. */
  const early: { signals: string[]; size?: StreamEvent } = { signals: [] }
  await serveChannel(stream, context, {
    async open(connection, signal) {
      let exit: CommandExit | undefined
      const onExit = (how: CommandExit): void => {
        exit = how
      }
      const channel = await start(connection, { timeoutMs, signal, onExit })
      const closed = () => {
        if (exit === undefined) return commandLost(context.machine)
        stream.event({ exit })
        return undefined
      }
      return { channel, end: { aux: channel.stderr, closed, unread: requestGone } }
    },
    event(event) {
      if (running !== undefined) return pass(running, event)
      if ('resize' in event) early.size = event
      const name = signalOf(event)
      if (name !== undefined && early.signals.length < SIGNALS.size) early.signals.push(name)
    },
    accepted(channel) {
      running = channel
      // Before the end of stdin is passed on: after it ssh2 sends neither, and no peer can either.
      if (early.size !== undefined) pass(channel, early.size)
      for (const name of early.signals) channel.signal(name)
    },
  })
}

function pass(channel: CommandChannel, event: StreamEvent): void {
  if ('resize' in event) return channel.setWindow(event.resize.rows, event.resize.columns, 0, 0)
  const name = signalOf(event)
  if (name !== undefined) channel.signal(name)
}

function signalOf(event: StreamEvent): string | undefined {
  if (!('signal' in event) || typeof event.signal !== 'string') return undefined
  const name = event.signal.toUpperCase().replace(/^SIG/, '')
  return SIGNALS.has(name) ? name : undefined
}
