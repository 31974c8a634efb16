import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { dropReads } from '../../protocol/node/drop-reads.ts'
import { hasBody } from '../../protocol/node/http-body.ts'
import { endSocket } from './raw.ts'

/** Ends the connection behind a response that is written before all of its request's body was read: nobody wants the rest. */
export function leaveUnread(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = request
  // One that was injected has no connection.
  if (!hasBody(request) || !(socket instanceof Socket)) return
  // What Node calls behind the last response of a connection. What comes after that would reset it under the response, before
  // its peer has read that (RFC 9112, section 9.6).
  const end = (): void => {
    Reflect.deleteProperty(socket, 'destroySoon')
    if (request.complete || socket.writableEnded) return socket.destroySoon()
    dropReads(socket)
    request.resume()
    endSocket(socket)
  }
  socket.destroySoon = end
  response.once('close', () => {
    if (socket.destroySoon !== end) return
    if (request.complete) Reflect.deleteProperty(socket, 'destroySoon')
    else end()
  })
}
