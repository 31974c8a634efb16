import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { hasBody } from '../../protocol/node/http-body.ts'

/** How long a request may take to arrive, in ms; hardly one of ours has a body to speak of. */
const REQUEST_MS = 60_000
/** So many pieces may a body have whatever they hold; of more, each must hold PIECE_BYTES on average. */
const FREE_PIECES = 256
const PIECE_BYTES = 64
/** As Node says of a request that is late, and we of one that comes in too many pieces. */
const LATE = 'ERR_HTTP_REQUEST_TIMEOUT'
export const PIECEMEAL = 'ERR_TUNNEL_BODY_PIECEMEAL'

/**
 * Holds the bodies of requests to what an honest one needs: it comes in time, and not byte by byte, and what is not wanted of
 * it is not read. Node takes each piece out of its framing, at a microsecond each, before anybody else is served.
 */
export function limitBodies(app: FastifyInstance): void {
  const leaveUnread = (request: IncomingMessage, response: ServerResponse): void => {
    const { socket } = request
    // One that was injected has no connection.
    if (hasBody(request) && socket instanceof Socket) endUnread(app, request, response, socket)
  }
  app.decorate('leaveUnread', leaveUnread)
  app.addHook('onRequest', (request, reply, done) => {
    if (isLimited(request)) {
      endLate(app, request, reply)
      leaveUnread(request.raw, reply.raw)
    }
    done()
  })
  app.addHook('preParsing', (request, reply, payload, done) => {
    if (isLimited(request)) countPieces(app, request.raw, reply.raw)
    done(null, payload)
  })
}

function isLimited({ raw, routeOptions }: FastifyRequest): boolean {
  return hasBody(raw) && !routeOptions.config.hasLongBody && raw.socket instanceof Socket
}

function endLate(app: FastifyInstance, { raw }: FastifyRequest, reply: FastifyReply): void {
  const late = setTimeout(() => {
    if (!raw.complete) refuse(app, raw, reply.raw, LATE)
  }, REQUEST_MS)
  late.unref()
  raw.once('close', () => clearTimeout(late))
}

function countPieces(app: FastifyInstance, request: IncomingMessage, response: ServerResponse): void {
  let pieces = 0
  let bytes = 0
  // Listening alone makes it flow, and whoever reads it may not be there yet.
  request.pause()
  request.on('data', function count(piece: Buffer) {
    bytes += piece.length
    if (++pieces <= FREE_PIECES || bytes >= pieces * PIECE_BYTES) return
    request.off('data', count)
    refuse(app, request, response, PIECEMEAL)
  })
}

function refuse(
  app: FastifyInstance,
  { socket }: IncomingMessage,
  { headersSent }: ServerResponse,
  code: string,
): void {
  if (headersSent) return void socket.destroy()
  dropUnparsed(socket)
  app.server.emit('clientError', Object.assign(new Error(code), { code }), socket)
}

function endUnread(
  app: FastifyInstance,
  request: IncomingMessage,
  response: ServerResponse,
  socket: Socket,
): void {
  // What Node calls behind the last response of a connection. What comes after that would reset it under the response, before
  // its peer has read that (RFC 9112, section 9.6).
  const end = (): void => {
    Reflect.deleteProperty(socket, 'destroySoon')
    if (request.complete || socket.writableEnded) return socket.destroySoon()
    dropUnparsed(socket)
    app.endSocket(socket)
  }
  socket.destroySoon = end
  response.once('close', () => {
    if (socket.destroySoon !== end) return
    if (request.complete) Reflect.deleteProperty(socket, 'destroySoon')
    else end()
  })
}

/** What still comes is dropped as it is. */
function dropUnparsed(socket: Socket): void {
  // A listener takes it away from the parser; its own listener would give it back.
  socket.removeAllListeners('data').on('data', () => {})
  // Where Node has stopped to read because a body was not taken, it goes on: for the stream a read has been under way all along.
  socket.push('')
}
