import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ServeContext } from './serve.ts'
import { serveSession } from './session.ts'

/** Runs one command. */
export async function serveExec(stream: ByteStream, context: ServeContext): Promise<void> {
  const command = stream.head.exec?.command ?? ''
  await serveSession(stream, context, (connection, options) => connection.exec(command, options))
}
