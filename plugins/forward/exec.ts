import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ServeContext } from './serve.ts'
import { serveSession } from './session.ts'

/** Runs one command. */
export async function serveExec(stream: ByteStream, context: ServeContext): Promise<void> {
  await serveCommand(stream, context, stream.head.exec?.command ?? '')
}

/**
 * Joins a stream with a command on the machine: DATA is stdin and stdout, AUX stderr, the exit status an event.
 * @param command a command line for the user's shell there
 */
export async function serveCommand(
  stream: ByteStream,
  context: ServeContext,
  command: string,
): Promise<void> {
  await serveSession(stream, context, (connection, options) => connection.exec(command, options))
}
