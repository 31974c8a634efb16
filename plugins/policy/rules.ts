import type { StreamKind } from '../../protocol/codec/heads.ts'
import type { User } from '../auth/index.ts'
import { policyDenied } from './errors.ts'
import { globMatches } from './glob.ts'
import type { PolicyRule } from './options.ts'
import { matchesTarget } from './targets.ts'

export interface PolicyRequest {
  user: User
  machine: string
  owner: string
  mode: 'sealed' | 'inspected'
  kind: StreamKind | 'agent'
  /** host:port */
  target?: string
}

/** A token that only an agent should hold: it puts a machine on line and opens nothing. */
const AGENT_ROLE = 'agent'

/**
 * Throws POLICY_DENIED or returns. Ownership comes first and no rule widens it: what the rules narrow is
 * which of their own machines, modes and targets owners reach.
 */
export function decide(rules: readonly PolicyRule[], request: PolicyRequest): void {
  const { user, kind } = request
  if (request.owner !== user.sub)
    throw policyDenied(described(request), 'the machine belongs to somebody else')
  if (kind !== 'agent' && user.roles.includes(AGENT_ROLE)) {
    throw policyDenied(
      described(request),
      'a token with the role agent cannot open streams; use one without that role',
    )
  }
  const rule = rules.find((candidate) => matches(candidate, request))
  if (rule?.effect === 'deny')
    throw policyDenied(described(request), rule.reason ?? 'a rule of this proxy forbids it')
}

function matches(rule: PolicyRule, request: PolicyRequest): boolean {
  const { user, machine, mode, kind, target } = request
  return (
    (rule.users === undefined || rule.users.some((glob) => globMatches(glob, user.sub))) &&
    (rule.tiers === undefined || rule.tiers.includes(user.tier)) &&
    (rule.roles === undefined || rule.roles.some((role) => user.roles.includes(role))) &&
    (rule.machines === undefined || rule.machines.some((glob) => globMatches(glob, machine))) &&
    (rule.modes === undefined || rule.modes.includes(mode)) &&
    (rule.kinds === undefined || rule.kinds.includes(kind)) &&
    (rule.targets === undefined ||
      (target !== undefined &&
        matchesTarget(rule.targets, target, { loopbackIsOne: rule.effect === 'deny' })))
  )
}

function described({ kind, machine, target }: PolicyRequest): string {
  return target === undefined ? `${kind} to ${machine}` : `${kind} to ${machine} (${target})`
}
