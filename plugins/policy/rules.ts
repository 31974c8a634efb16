import type { User } from '../auth/index.ts'
import type { PolicyRequest } from './decision.ts'
import { targetInvalid } from './errors.ts'
import { globMatches } from './glob.ts'
import type { PolicyRule } from './options.ts'
import { type AskedTarget, isOneHost, type TargetPattern, targetPattern } from './targets.ts'

/** A token that only an agent should hold: it puts a machine on line and opens nothing. */
export const AGENT_ROLE = 'agent'
/** Everybody else. */
const USER_ROLE = 'user'

/** One rule of the configuration, read once. */
export class Rule {
  readonly #rule: PolicyRule
  readonly #targets: readonly TargetPattern[] | undefined
  /** Of these, those that name one host each. */
  readonly #hosts: readonly TargetPattern[]
  readonly isDeny: boolean
  /** Where it stands: `policy.rules[2]`. */
  readonly name: string

  /** @throws {TunnelError} CONFIG_INVALID */
  constructor(rule: PolicyRule, index: number) {
    this.#rule = rule
    this.isDeny = rule.effect === 'deny'
    this.name = `policy.rules[${index}]`
    this.#targets = rule.targets?.map((text, at) => {
      const pattern = targetPattern(text)
      if (pattern === undefined) throw targetInvalid(`${this.name}.targets[${at}]`, text)
      return pattern
    })
    this.#hosts = this.#targets?.filter((_, at) => isOneHost(rule.targets?.[at] ?? '')) ?? []
  }

  get reason(): string | undefined {
    return this.#rule.reason
  }

  /** It is about machines of others too. */
  get isShare(): boolean {
    return !this.isDeny && this.#rule.owners !== undefined
  }

  /** Ids and globs of those whose machines it is about. */
  get owners(): readonly string[] {
    return this.#rule.owners ?? []
  }

  matches(request: PolicyRequest, target: AskedTarget | undefined): boolean {
    const { modes, kinds } = this.#rule
    return (
      this.matchesMachine(request.user, request.owner, request.machine) &&
      (modes === undefined || modes.includes(request.mode)) &&
      (kinds === undefined || kinds.includes(request.kind)) &&
      this.#matchesTarget(target)
    )
  }

  /** The same, whatever is to be done there. */
  matchesMachine(user: User, owner: string, machine: string): boolean {
    const { owners, machines } = this.#rule
    return (
      this.matchesUser(user) &&
      (owners === undefined
        ? this.isDeny || owner === user.sub
        : owners.some((glob) => globMatches(glob, owner))) &&
      (machines === undefined || machines.some((glob) => globMatches(glob, machine)))
    )
  }

  /** The same, whatever the machine. */
  matchesUser(user: User): boolean {
    const { users, tiers, roles } = this.#rule
    return (
      (users === undefined || users.some((glob) => globMatches(glob, user.sub))) &&
      (tiers === undefined || tiers.includes(user.tier)) &&
      (roles === undefined || roles.some((role) => hasRole(user, role)))
    )
  }

  /** Whether it names the very host, and no glob does. */
  names(target: AskedTarget): boolean {
    return this.#hosts.some((pattern) => pattern(target, this.isDeny))
  }

  /** Nothing can be done on a machine that it matches. */
  get isWhole(): boolean {
    const { modes, kinds } = this.#rule
    return modes === undefined && kinds === undefined && this.#targets === undefined
  }

  #matchesTarget(target: AskedTarget | undefined): boolean {
    if (this.#targets === undefined) return this.isDeny || target === undefined || target.isLoopback
    return target !== undefined && this.#targets.some((pattern) => pattern(target, this.isDeny))
  }
}

function hasRole({ roles }: User, role: string): boolean {
  return roles.includes(role) || (role === USER_ROLE && !roles.includes(AGENT_ROLE))
}
