import type { Duplex } from 'node:stream'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { requestGone, targetClosed, targetMissing, targetOf } from './errors.ts'
import { LINGER_MS, ReadableToStream, StreamToWritable } from './pumps.ts'
import type { ServeContext, Served } from './serve.ts'

/** Joins a stream with a TCP connection that the machine's sshd makes. */
export async function serveTcp(stream: TunnelStream, context: ServeContext): Promise<Served> {
  const inlet = new StreamToWritable(stream)
  const outlet = new ReadableToStream()
  const gone = new AbortController()
  let channel: Duplex | undefined
  const closed = new Promise<TunnelError | undefined>((resolve) => {
    stream.handle({
      data: (bytes) => inlet.data(bytes),
      aux: (bytes) => stream.consumed(bytes.length),
      ended: () => inlet.end(),
      drained: () => outlet.drained(),
      closed: (error) => {
        gone.abort()
        channel?.destroy()
        resolve(error)
      },
    })
  })

  if (context.target === undefined) throw targetMissing('tcp')
  const { host, port, authority } = targetOf(context.target)
  const options = { timeoutMs: context.timeoutMs, signal: gone.signal }
  const { lease, channel: opened } = await context.open(gone.signal, (connection) =>
    connection.openTcp(host, port, options),
  )
  channel = opened
  try {
    await context.onOpen()
    if (gone.signal.aborted) throw requestGone()
    let linger: ReturnType<typeof setTimeout> | undefined
    opened.on('error', (error) => stream.reset(asTunnelError(error, 'AGENT_LOST', 'ssh')))
    opened.on('end', () => stream.end())
    opened.on('close', () => {
      // Nothing can be written any more, but what was read must still reach the peer: no reset, which overtakes it.
      inlet.discard()
      stream.end()
      if (!inlet.ended) linger = setTimeout(() => stream.reset(targetClosed(authority)), LINGER_MS).unref()
    })
    stream.accept()
    inlet.attach(opened)
    outlet.attach(opened, (bytes) => stream.write(bytes))
    const error = await closed
    clearTimeout(linger)
    return { error, bytesIn: inlet.byteCount, bytesOut: outlet.byteCount }
  } finally {
    channel?.destroy()
    lease.release()
  }
}
