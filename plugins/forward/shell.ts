import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ServeContext } from './serve.ts'
import { serveSession } from './session.ts'

/** Runs the user's login shell, on a terminal where the opener has one. */
export async function serveShell(stream: ByteStream, context: ServeContext): Promise<void> {
  const terminal = stream.head.shell?.terminal
  await serveSession(stream, context, (connection, options) => connection.shell(terminal, options))
}
