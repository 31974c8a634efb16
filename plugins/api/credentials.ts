import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { networkOf } from '../../protocol/node/network-of.ts'
import { agentMayNotConnect, noIssuer } from './errors.ts'
import * as schemas from './schemas.ts'

/** Tickets and revocations of one user: more than any page or program needs, too few to fill the state with. */
const TICKETS = { name: 'ticket', scope: 'auth', burst: 60, perMinute: 60 } as const
const REVOCATIONS = { name: 'revoke', scope: 'auth', burst: 60, perMinute: 10 } as const
/** Refresh tokens that one address may try in vain. */
const REFUSED = { name: 'refresh', scope: 'auth', burst: 10, perMinute: 6 } as const
/** A token is the longest thing in a body. */
const MAX_BODY_BYTES = 16_384

/** How users get, renew and end what they show to be let in. */
export async function credentialRoutes(app: FastifyInstance): Promise<void> {
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()
  const secretly = async (_request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    // RFC 6749, section 5.1: nothing on the way keeps a credential.
    reply.header('cache-control', 'no-store')
  }
  const { rateLimits } = app

  routes.get('/api/tunnel/auth/login', { schema: schemas.loginPlace }, async () => {
    const place = app.auth.loginPlace
    if (place === undefined) throw noIssuer()
    return place
  })

  routes.post(
    '/api/tunnel/auth/ticket',
    {
      schema: schemas.makeTicket,
      onRequest: [app.requireUser, app.limitByUser, app.requireRecord, secretly],
    },
    async ({ user }, reply) => {
      if (user.roles.includes('agent')) throw agentMayNotConnect()
      await rateLimits.takeRoute(TICKETS, user.sub, reply)
      const { ticket, expiresAtMs } = await app.auth.makeTicket(user)
      return reply.code(201).send({ ticket, expiresAt: new Date(expiresAtMs).toISOString() })
    },
  )

  routes.post(
    '/api/tunnel/auth/refresh',
    { schema: schemas.refresh, onRequest: [app.requireRecord, secretly], bodyLimit: MAX_BODY_BYTES },
    async ({ body: { refreshToken, requestId }, ip, id: correlationId }, reply) => {
      try {
        const { expiresAtMs, ...tokens } = await app.auth.refresh(refreshToken, requestId)
        return { ...tokens, expiresAt: new Date(expiresAtMs).toISOString() }
      } catch (error) {
        const { category } = asTunnelError(error, 'proxy')
        const reused = error as { sub?: string; session?: string }
        if (reused.sub !== undefined) {
          const details = { session: reused.session ?? '', address: ip }
          app.audit.record({ event: 'auth.refresh_reused', userId: reused.sub, correlationId, details })
        } else if (category === 'authentication') {
          // Before it is told: what is guessed is not answered for ever.
          await rateLimits.takeRoute(REFUSED, networkOf(ip), reply)
        }
        throw error
      }
    },
  )

  routes.post(
    '/api/tunnel/auth/revoke',
    { schema: schemas.revoke, onRequest: [app.requireUser, app.limitByUser], bodyLimit: MAX_BODY_BYTES },
    async ({ user, body, id: correlationId }, reply) => {
      await rateLimits.takeRoute(REVOCATIONS, user.sub, reply)
      const { sub, ...details } = await app.auth.revoke(user, body)
      if (sub !== undefined) {
        const ended = { ...details, by: user.sub }
        app.audit.record({ event: 'auth.revoked', userId: sub, correlationId, details: ended })
      }
      return reply.code(204).send(null)
    },
  )
}
