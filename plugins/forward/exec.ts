import type { StreamEvent } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { CommandExit } from '../ssh/index.ts'
import { serveChannel } from './channel.ts'
import { commandLost, requestGone } from './errors.ts'
import type { ServeContext } from './serve.ts'

/** RFC 4254, section 6.10: the names that SSH has for signals. */
const SIGNALS: ReadonlySet<string> = new Set([
  ...['ABRT', 'ALRM', 'FPE', 'HUP', 'ILL', 'INT', 'KILL', 'PIPE', 'QUIT', 'SEGV', 'TERM', 'USR1', 'USR2'],
])

/** Runs one command: DATA is stdin and stdout, AUX stderr; the exit status or signal is an event before the end. */
export async function serveExec(stream: ByteStream, context: ServeContext): Promise<void> {
  const command = stream.head.exec?.command ?? ''
  const { timeoutMs } = context
  /** Signals that came before there was a command to send them to. */
  const early: string[] = []
  let send = (name: string): void => {
    if (early.length < SIGNALS.size) early.push(name)
  }
  await serveChannel(stream, context, {
    async open(connection, signal) {
      let exit: CommandExit | undefined
      const onExit = (how: CommandExit): void => {
        exit = how
      }
      const channel = await connection.exec(command, { timeoutMs, signal, onExit })
      const closed = () => {
        if (exit === undefined) return commandLost(context.machine)
        stream.event({ exit })
        return undefined
      }
      return { channel, end: { aux: channel.stderr, closed, unread: requestGone } }
    },
    event(event) {
      const name = signalOf(event)
      if (name !== undefined) send(name)
    },
    accepted(channel) {
      send = (name) => channel.signal(name)
      // Before the end of stdin is passed on: after it ssh2 sends no signal, and no peer can either.
      for (const name of early) channel.signal(name)
    },
  })
}

function signalOf(event: StreamEvent): string | undefined {
  if (!('signal' in event) || typeof event.signal !== 'string') return undefined
  const name = event.signal.toUpperCase().replace(/^SIG/, '')
  return SIGNALS.has(name) ? name : undefined
}
