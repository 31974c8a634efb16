import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { asTunnelError, type ErrorCode } from '../../protocol/codec/errors.ts'
import { isSealed } from '../../protocol/codec/heads.ts'
import { parseTarget } from '../../protocol/codec/target.ts'
import type { User } from '../auth/index.ts'
import type { Decision, PolicyRequest } from '../policy/index.ts'
import { notATarget } from './errors.ts'
import * as schemas from './schemas.ts'

/** What decides, as an operator asks for it. Hooks of custom plugins are not asked. */
export async function policyRoutes(app: FastifyInstance): Promise<void> {
  // Whoever may not asks at the price of any request.
  const onlyAdmins = [app.requireUser, app.limitByUser, app.requireRole('admin')]
  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .post(
      '/api/tunnel/policy/check',
      { schema: schemas.checkPolicy, onRequest: onlyAdmins },
      async ({ body: { sub, machine: asked, kind, target, tier = 'free', roles = [] } }) => {
        const wanted = target === undefined ? undefined : parseTarget(target)
        if (target !== undefined && wanted === undefined) throw notATarget(target)
        const user: User = { sub, tier, roles, expiresAtMs: Number.POSITIVE_INFINITY }
        const mode = kind === 'agent' || isSealed(kind) ? 'sealed' : 'inspected'
        // A machine that an agent enrols need not be there yet.
        const machine = kind === 'agent' ? { owner: sub, name: asked } : await locate(app, user, asked)
        if ('code' in machine) return machine
        const request: PolicyRequest = { user, owner: machine.owner, machine: machine.name, mode, kind }
        if (wanted !== undefined) request.target = wanted.authority
        return { ...(await explain(app, request)), machine }
      },
    )
}

/** Which machine is meant; or that none is, before any rule is asked. */
async function locate({ machines }: FastifyInstance, user: User, asked: string): Promise<Place | Refusal> {
  try {
    const { owner, name } = await machines.resolve(user, asked)
    return { owner, name }
  } catch (error) {
    return refusalOf(error, 'machines')
  }
}

/** A policy in the built-in's place may only know how to refuse. */
async function explain({ policy }: FastifyInstance, request: PolicyRequest): Promise<Decision | Refusal> {
  if (policy.explain !== undefined) return policy.explain(request)
  try {
    await policy.check(request)
    return { allowed: true, rule: 'app.policy', reason: 'the policy of a plugin allows it' }
  } catch (error) {
    return refusalOf(error, 'app.policy')
  }
}

interface Place {
  owner: string
  name: string
}

interface Refusal {
  allowed: false
  rule: string
  code: ErrorCode
  reason: string
}

/** @throws whatever is no refusal of this request */
function refusalOf(thrown: unknown, rule: string): Refusal {
  const { code, category, message } = asTunnelError(thrown, 'proxy')
  if (category === 'server') throw thrown
  return { allowed: false, rule, code, reason: message }
}
