import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ServeContext } from './serve.ts'
import { serveSession } from './session.ts'

/** Runs the user's login shell, on a terminal where the opener has one, with the variables that it gives. */
export async function serveShell(stream: ByteStream, context: ServeContext): Promise<void> {
  const { shell = {} } = stream.head
  await serveSession(stream, context, (connection, options) => connection.shell(shell, options))
}
