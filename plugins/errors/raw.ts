import type { Socket } from 'node:net'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { rawProblem } from './problem.ts'

/** How long a peer may take for its last answer, in ms. */
const END_MS = 1_000

/** A whole answer to a socket that no Fastify reply stands behind. */
export interface RawAnswer {
  error: TunnelError
  /** Default: the error's own. */
  status?: number
  correlationId: string
}

/**
 * The end of every socket that is ours to end: writes the answer, if there is one, says that nothing more comes, and
 * destroys the socket when its peer has closed too, a second later at the latest.
 */
export function endSocket(socket: Socket, answer?: RawAnswer): void {
  if (socket.destroyed) return
  const late = setTimeout(() => socket.destroy(), END_MS)
  late.unref()
  socket.once('close', () => clearTimeout(late))
  socket.on('error', () => socket.destroy())
  if (!socket.writable) return void socket.destroy()
  // What still comes is read and dropped: closed over unread bytes, the connection would be reset under the answer.
  socket.once('end', () => socket.destroySoon())
  socket.resume()
  if (answer === undefined) return void socket.end()
  const { error, status = error.statusCode, correlationId } = answer
  socket.end(rawProblem(error, status, correlationId))
}

const CLIENT_ERRORS: ReadonlyMap<string | undefined, [status: number, text: string]> = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', [408, 'the request was not complete in time']],
  ['ERR_TUNNEL_BODY_PIECEMEAL', [400, 'the body comes in too many small pieces']],
  ['HPE_HEADER_OVERFLOW', [431, "the request's headers are too long"]],
])

/** What to say to a peer whose request is not HTTP, is too long, or does not come to its end. */
export function clientError(code: string | undefined): { error: TunnelError; status: number } {
  const [status, text] = CLIENT_ERRORS.get(code) ?? [400, 'this is not an HTTP request']
  return { error: new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' }), status }
}
