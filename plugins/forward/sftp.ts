import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import { serveChannel } from './channel.ts'
import { requestGone } from './errors.ts'
import type { ServeContext } from './serve.ts'

/** Joins a stream with the machine's sftp subsystem, whose bytes are the opener's to read and write. */
export async function serveSftp(stream: ByteStream, context: ServeContext): Promise<void> {
  const { timeoutMs } = context
  await serveChannel(stream, context, {
    async open(connection, signal) {
      const channel = await connection.sftp({ timeoutMs, signal })
      return { channel, end: { unread: requestGone } }
    },
  })
}
