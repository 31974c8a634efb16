import { asTunnelError } from '../../protocol/codec/errors.ts'
import { isSealed, type RoutedHead, type Vouched } from '../../protocol/codec/heads.ts'
import type { Target } from '../../protocol/codec/target.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { PolicyRequest } from '../policy/index.ts'
import { targetOf } from './errors.ts'
import type { OpenContext } from './hooks.ts'
import type { PassageShared } from './shared.ts'
import type { PassageTrace } from './trace.ts'

/** What an opener's link says of a stream that asks to be opened, or to go on. */
export function openContext(
  from: Pick<OpenContext, 'user' | 'connectionId' | 'correlationId' | 'log' | 'via'>,
  head: RoutedHead,
  moved: boolean,
): OpenContext {
  const { user, connectionId, correlationId, log, via } = from
  const { machine, target } = head
  const mode = isSealed(head.kind) ? 'sealed' : 'inspected'
  const context: OpenContext = { user, head, machine, mode, connectionId, correlationId, log, moved }
  if (target !== undefined) context.target = target
  if (via !== undefined) context.via = via
  return context
}

type Asked = Pick<PassageShared, 'services' | 'hooks'>

/** The way to the machine, and where from there; undefined where the stream names no target. */
export interface Admission {
  readonly route: Route
  readonly target: Target | undefined
}

/**
 * Whether a stream may be opened: hooks `preOpen`, the token, the user's bucket, the machine, policy.
 * @throws {TunnelError} what refuses it
 */
export async function askToOpen(context: OpenContext, asked: Asked): Promise<Admission> {
  const { services, hooks } = asked
  if (hooks.has('preOpen')) await hooks.run('preOpen', context)
  services.auth.check(context.user)
  // First: guessing at the names of machines uses up the same tokens.
  await services.rateLimits.takeStream(context.user)
  const route = await services.machines.resolve(context.user, context.machine)
  const named = context.target ?? context.head.target
  const target = named === undefined ? undefined : targetOf(named)
  await checkPolicy(context, asked, route, target)
  return { route, target }
}

/**
 * Whether a stream may go on after its opener's link was lost: what an open is asked, but for the hooks and for what an
 * open uses up. Undefined where no such machine is known here, which its agent's next link may change.
 * @param owner the machine's, where the stream was admitted here: what its opener calls it may mean another by now
 * @throws {TunnelError} TOKEN_EXPIRED, TOKEN_REVOKED, POLICY_DENIED
 */
export async function askToGoOn(
  context: OpenContext,
  asked: Asked,
  named: string | undefined,
  owner: string | undefined,
): Promise<Route | undefined> {
  const { user, machine } = context
  asked.services.auth.check(user)
  const meant = owner === undefined ? machine : `${owner}/${machine}`
  const route = await asked.services.machines.resolve(user, meant).catch(unlessUnknown)
  const target = named === undefined ? undefined : targetOf(named)
  const place = route ?? ({ owner: owner ?? user.sub, name: machine, source: 'agent' } as const)
  await checkPolicy(context, asked, place, target)
  return route
}

/**
 * Policy is asked about the target as it is dialled: no other spelling avoids a rule. Of a stream that goes on it is asked about
 * the addresses, too, that its target's name stood for.
 */
function checkPolicy(
  { user, mode, head: { kind }, addresses }: OpenContext,
  { services }: Asked,
  { owner, name: machine, source }: Pick<Route, 'owner' | 'name' | 'source'>,
  target: Target | undefined,
): Promise<void> {
  const isConfigured = source === 'configured'
  const request: PolicyRequest = { user, machine, owner, mode, kind, isConfigured }
  if (target !== undefined) request.target = target.authority
  return services.tracing.during('policy', () => services.policy.check(request, addresses))
}

/**
 * What the far side of `link` is told of whose stream it is: its owner's, or that of somebody whom a rule lets in; and to which
 * trace its work belongs. Another replica, which does not know the user, is told the tier too.
 */
export function vouched(
  { user: { sub: subject, tier }, trace }: { user: User; trace: Pick<PassageTrace, 'traceparent'> },
  { owner }: Pick<Route, 'owner'>,
  link: Link,
): Vouched & Pick<RoutedHead, 'traceparent'> {
  const { traceparent } = trace
  return {
    subject,
    ...(owner !== subject && { owner }),
    ...(link.peer?.role === 'relay' && { tier }),
    ...(traceparent !== undefined && { traceparent }),
  }
}

function unlessUnknown(thrown: unknown): undefined {
  const error = asTunnelError(thrown, 'proxy')
  if (error.code !== 'MACHINE_UNKNOWN') throw error
}
