import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { isMachineName, MACHINE_NAME_RULE } from '../../protocol/codec/heads.ts'
import { networkOf } from '../../protocol/node/network-of.ts'
import { type Enrolment, EnrolmentCodes } from './codes.ts'
import { agentMayNotEnrol, nameInvalid } from './errors.ts'
import type { EnrolmentOptions } from './options.ts'
import * as schemas from './schemas.ts'

/** Attempts with a code by one address: nobody mistypes more often, and 80 bits are not guessed. */
const ATTEMPTS = { name: 'enrolment', scope: 'enrolment', burst: 10, perMinute: 6 } as const

/** One-time codes, so that no long token has to be typed on a machine. */
async function enrolmentPlugin(app: FastifyInstance, options: EnrolmentOptions): Promise<void> {
  const codes = new EnrolmentCodes(app.state, options)
  app.addHook('onRequest', app.limitByIp)
  const routes = app.withTypeProvider<TypeBoxTypeProvider>()

  routes.post(
    '/api/tunnel/machines/:machine/enrolment',
    { schema: schemas.makeCode, onRequest: [app.requireUser, app.limitByUser, app.requireRecord] },
    async ({ user, params: { machine }, id: correlationId }, reply) => {
      if (user.roles.includes('agent')) throw agentMayNotEnrol()
      if (!isMachineName(machine)) throw nameInvalid(machine, MACHINE_NAME_RULE)
      await app.policy.check({ user, machine, owner: user.sub, mode: 'sealed', kind: 'agent' })
      const { sub, tier, credential } = user
      const made = { user: sub, tier, machine, ...(credential !== undefined && { credential }) }
      const { code, expiresAtMs } = await codes.make(made)
      app.audit.record({ event: 'enrolment.code_made', userId: sub, machine, correlationId })
      return reply.code(201).send({ code, machine, expiresAt: new Date(expiresAtMs).toISOString() })
    },
  )

  /** A token that has expired since is no reason against its code; one that was revoked is. */
  const use = async (code: string): Promise<Enrolment> => {
    const enrolment = await codes.use(code)
    const { user: sub, credential } = enrolment
    const maker = { sub, roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
    app.auth.check({ ...maker, tier: 'free', ...(credential !== undefined && { credential }) })
    return enrolment
  }

  /** Before the code is looked at: of a hundred at once, no more than these are. */
  const limitAttempts = ({ ip }: FastifyRequest, reply: FastifyReply): Promise<void> =>
    app.rateLimits.takeRoute(ATTEMPTS, networkOf(ip), reply)

  routes.post(
    '/api/tunnel/enrolments',
    { schema: schemas.useCode, onRequest: [limitAttempts, app.requireRecord] },
    async ({ body, ip, id: correlationId }) => {
      const { user, tier, machine } = await use(body.code).catch((error: unknown) => {
        app.tunnelMetrics.authFailures.inc({ code: asTunnelError(error, 'proxy').code })
        throw error
      })
      const ttlSeconds = Math.floor(options.tokenMs / 1_000)
      const token = app.auth.sign({ sub: user, tier, roles: ['agent'], machine, ttlSeconds })
      const details = { address: ip }
      app.audit.record({ event: 'enrolment.code_used', userId: user, machine, correlationId, details })
      const expiresAt = new Date(Date.now() + ttlSeconds * 1_000).toISOString()
      return { token, user, machine, expiresAt }
    },
  )
}

export default fp(enrolmentPlugin, {
  name: 'tunnel-enrolment',
  fastify: '5.x',
  encapsulate: true,
  dependencies: [
    'tunnel-audit',
    'tunnel-audit-guard',
    'tunnel-metrics',
    'tunnel-state',
    'tunnel-auth',
    'tunnel-policy',
    'tunnel-ratelimit',
  ],
})
