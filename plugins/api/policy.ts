import { isIP } from 'node:net'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { asTunnelError, type ErrorCode } from '../../protocol/codec/errors.ts'
import { isSealed } from '../../protocol/codec/heads.ts'
import { parseTarget, type Target } from '../../protocol/codec/target.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
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
        const { owner, name, lookup, source } = machine
        const isConfigured = source === 'configured'
        const request: PolicyRequest = { user, owner, machine: name, mode, kind, isConfigured }
        if (wanted !== undefined) request.target = wanted.authority
        const told = { machine: { owner, name } }
        const decision = await explain(app, request)
        const host = mode === 'inspected' && decision.allowed ? nameIn(wanted) : undefined
        if (host === undefined || lookup === undefined) return { ...decision, ...told }
        return {
          ...(await explainName(app, request, decision, () => lookup(host, AbortSignal.timeout(LOOKUP_MS)))),
          ...told,
        }
      },
    )
}

/** Which machine is meant; or that none is, before any rule is asked. */
async function locate({ machines }: FastifyInstance, user: User, asked: string): Promise<Place | Refusal> {
  try {
    const { owner, name, ...route } = await machines.resolve(user, asked)
    return { owner, name, source: route.source, lookup: (host, signal) => route.lookup(host, signal) }
  } catch (error) {
    return refusalOf(error, 'machines')
  }
}

/** A policy in the built-in's place may only know how to refuse. */
async function explain(
  { policy }: FastifyInstance,
  request: PolicyRequest,
  addresses?: readonly string[],
): Promise<Decision | Refusal> {
  if (policy.explain !== undefined) return policy.explain(request, addresses)
  try {
    await policy.check(request, addresses)
    return { allowed: true, rule: 'app.policy', reason: 'the policy of a plugin allows it' }
  } catch (error) {
    return refusalOf(error, 'app.policy')
  }
}

/** How long the machine has to say where a name leads, in ms: an agent may be anybody's program. */
const LOOKUP_MS = 15_000

/** What has to be resolved before anything can be dialled. */
function nameIn(target: Target | undefined): string | undefined {
  if (target === undefined || target.host === 'localhost' || isIP(target.host) !== 0) return undefined
  return target.host
}

/** The same of a name that is allowed: where it leads decides too. */
async function explainName(
  app: FastifyInstance,
  request: PolicyRequest,
  byName: Decision | Refusal,
  lookup: () => Promise<readonly string[]>,
): Promise<(Decision | Refusal) & { addresses?: string[] }> {
  try {
    const addresses = await lookup()
    return { ...(await explain(app, request, addresses)), addresses: [...addresses] }
  } catch (error) {
    const { code, message } = asTunnelError(error, 'proxy')
    const isTrusted = code === 'VERSION_UNSUPPORTED' && 'isNamed' in byName
    if (code === 'POLICY_DENIED' || (code === 'VERSION_UNSUPPORTED' && !isTrusted))
      return {
        allowed: false,
        rule: code === 'POLICY_DENIED' ? 'metadata addresses' : 'names',
        code,
        reason: message,
      }
    return {
      ...byName,
      reason: `${byName.reason}; where the name leads is not known now (${code}: ${message})`,
    }
  }
}

interface Place extends Partial<Pick<Route, 'lookup' | 'source'>> {
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
