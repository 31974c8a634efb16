import type { ClientChannel } from 'ssh2'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamEvent } from '../../protocol/codec/heads.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { CommandExit } from '../ssh/connection.ts'
import { commandLost, requestGone } from './errors.ts'
import { LINGER_MS, ReadableToStream, StreamToWritable } from './pumps.ts'
import type { ServeContext, Served } from './serve.ts'

/** RFC 4254, section 6.10: the names that SSH has for signals. */
const SIGNALS: ReadonlySet<string> = new Set([
  ...['ABRT', 'ALRM', 'FPE', 'HUP', 'ILL', 'INT', 'KILL', 'PIPE', 'QUIT', 'SEGV', 'TERM', 'USR1', 'USR2'],
])

/** Runs one command: DATA is stdin and stdout, AUX stderr; the exit status or signal is an event before the end. */
export async function serveExec(stream: TunnelStream, context: ServeContext): Promise<Served> {
  const inlet = new StreamToWritable(stream)
  const outlet = new ReadableToStream()
  const gone = new AbortController()
  const earlySignals: string[] = []
  let channel: ClientChannel | undefined
  const closed = new Promise<TunnelError | undefined>((resolve) => {
    stream.handle({
      data: (bytes) => inlet.data(bytes),
      aux: (bytes) => stream.consumed(bytes.length),
      event: (event) => {
        const name = signalOf(event)
        if (name === undefined) return
        if (channel !== undefined) channel.signal(name)
        else if (earlySignals.length < SIGNALS.size) earlySignals.push(name)
      },
      ended: () => inlet.end(),
      drained: () => outlet.drained(),
      closed: (error) => {
        gone.abort()
        channel?.destroy()
        resolve(error)
      },
    })
  })

  const command = stream.head.exec?.command ?? ''
  let exit: CommandExit | undefined
  const onExit = (how: CommandExit): void => {
    exit = how
  }
  const options = { timeoutMs: context.timeoutMs, signal: gone.signal, onExit }
  const { lease, channel: opened } = await context.open(gone.signal, (connection) =>
    connection.exec(command, options),
  )
  channel = opened
  try {
    await context.onOpen()
    if (gone.signal.aborted) throw requestGone()
    let linger: ReturnType<typeof setTimeout> | undefined
    opened.on('error', (error: unknown) => stream.reset(asTunnelError(error, 'AGENT_LOST', 'ssh')))
    afterAll([opened, opened.stderr], () => {
      inlet.discard()
      if (exit === undefined) return stream.reset(commandLost(context.machine))
      stream.event({ exit })
      stream.end()
      if (!inlet.ended) linger = setTimeout(() => stream.reset(requestGone()), LINGER_MS).unref()
    })
    stream.accept()
    // Before stdin's end is passed on: after it ssh2 sends no signal, and no peer can either.
    for (const name of earlySignals) opened.signal(name)
    inlet.attach(opened)
    outlet.attach(opened, (bytes) => stream.write(bytes))
    outlet.attach(opened.stderr, (bytes) => stream.writeAux(bytes))
    const error = await closed
    clearTimeout(linger)
    return { error, bytesIn: inlet.byteCount, bytesOut: outlet.byteCount }
  } finally {
    channel?.destroy()
    lease.release()
  }
}

/** Once each has closed, which is after all of its data has been read. */
function afterAll(streams: NodeJS.EventEmitter[], done: () => void): void {
  let left = streams.length
  for (const stream of streams) {
    stream.once('close', () => {
      left--
      if (left === 0) done()
    })
  }
}

function signalOf(event: StreamEvent): string | undefined {
  if (!('signal' in event) || typeof event.signal !== 'string') return undefined
  const name = event.signal.toUpperCase().replace(/^SIG/, '')
  return SIGNALS.has(name) ? name : undefined
}
