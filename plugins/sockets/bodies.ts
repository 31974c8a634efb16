import type { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { dropReads } from '../../protocol/node/drop-reads.ts'
import { hasBody } from '../../protocol/node/http-body.ts'

/** How long a request may take to arrive, in ms; hardly one of ours has a body to speak of. */
const REQUEST_MS = 60_000
/** So many pieces may a body have whatever they hold; of more, each must hold PIECE_BYTES on average. */
const FREE_PIECES = 256
const PIECE_BYTES = 64
/** As Node says of a request that is late, and we of one whose body comes in too many pieces. */
const LATE = 'ERR_HTTP_REQUEST_TIMEOUT'
const PIECEMEAL = 'ERR_TUNNEL_BODY_PIECEMEAL'

/**
 * Holds the bodies of requests to what an honest one needs: it comes in time, and not byte by byte, of which each would be an
 * object of its own.
 */
export function limitBodies(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (isLimited(request)) endLate(app, request, reply)
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
  dropReads(socket)
  app.server.emit('clientError', Object.assign(new Error(code), { code }), socket)
}
