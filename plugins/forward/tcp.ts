import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import { serveChannel } from './channel.ts'
import { targetClosed, targetMissing } from './errors.ts'
import type { ServeContext } from './serve.ts'
import type { TcpPlaces } from './tcp-places.ts'

/** Joins a stream with a TCP connection that the machine's sshd makes. */
export async function serveTcp(places: TcpPlaces, stream: ByteStream, context: ServeContext): Promise<void> {
  const { target, timeoutMs, names } = context
  if (target === undefined) throw targetMissing('tcp')
  const { host, port, authority } = target
  await serveChannel(stream, context, {
    at: (signal, open) => places.open(context, signal, open),
    async open(connection, signal) {
      const channel = await connection.openTcp(host, port, { timeoutMs, signal, names })
      return { channel, end: { unread: () => targetClosed(authority) } }
    },
  })
}
