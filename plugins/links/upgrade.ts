import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { TunnelError } from '../../protocol/codec/errors.ts'

type OnUpgrade = (request: IncomingMessage, socket: Socket, head: Buffer) => void
/** Writes a whole answer to a socket that no reply stands behind. */
export type AnswerRaw = (request: IncomingMessage, socket: Socket, error: TunnelError) => void

/** Our routes that are links; on every other one of ours an upgrade means nothing. */
const LINKS: ReadonlySet<string> = new Set(['/api/tunnel/connect', '/api/tunnel/agent'])
const OURS = '/api/tunnel/'

/**
 * Comes before @fastify/websocket, which takes every upgrade: one that asks for another protocol, or a route that is no
 * link, is answered as if it had not asked (RFC 9110, section 7.8).
 */
export function filterUpgrades(app: FastifyInstance, answer: AnswerRaw): void {
  const accept = app.server.listeners('upgrade').at(-1) as OnUpgrade
  app.server.off('upgrade', accept)
  app.server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (isWebSocket(request)) return accept(request, socket, head)
    socket.on('error', () => socket.destroy())
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      const text = 'an upgrade goes with GET, and with no body'
      return answer(request, socket, new TunnelError('REQUEST_INVALID', text))
    }
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    response.once('finish', () => socket.destroySoon())
    app.routing(request, response)
  })
  app.websocketServer.on('wsClientError', (error: Error, socket: Socket, request: IncomingMessage) => {
    answer(request, socket, new TunnelError('REQUEST_INVALID', error.message))
  })
}

function isWebSocket({ headers, url = '' }: IncomingMessage): boolean {
  if (headers.upgrade?.toLowerCase() !== 'websocket') return false
  const path = url.split('?', 1)[0] ?? ''
  return !path.startsWith(OURS) || LINKS.has(path)
}
