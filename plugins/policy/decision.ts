import { isIP } from 'node:net'
import { isAddedKind, type StreamKind } from '../../protocol/codec/heads.ts'
import { isMetadata } from '../../protocol/node/addresses.ts'
import { isOwnAddress } from '../../protocol/node/own-addresses.ts'
import type { User } from '../auth/index.ts'
import type { Tiers } from '../tiers/index.ts'
import type { PolicyOptions } from './options.ts'
import { AGENT_ROLE, Rule } from './rules.ts'
import { type AskedTarget, askedTarget } from './targets.ts'

export interface PolicyRequest {
  user: User
  /** Its name among its owner's. */
  machine: string
  owner: string
  mode: 'sealed' | 'inspected'
  kind: StreamKind | 'agent'
  /** host:port */
  target?: string
  /** The machine is a host of the configuration, and so perhaps in the proxy's own network. */
  isConfigured?: boolean
}

export interface Decision {
  allowed: boolean
  /** What has decided: `policy.rules[2]`, a setting, or one of what always holds. */
  rule: string
  /** Of a refusal. */
  code?: 'POLICY_DENIED' | 'TIER_REQUIRED'
  reason: string
  /** A rule allows the very host of the target, and whoever wrote it trusts whoever answers for that name. */
  isNamed?: true
}

/** Machines of others that a user may know of. */
export interface Shared {
  /** Ids and globs of their owners. */
  readonly owners: readonly string[]
  includes(owner: string, machine: string): boolean
}

/**
 * The rules of the configuration, and what holds without them. In this order: what nobody may, rules that deny, rules
 * that allow, the default; and last what the user's tier has, for which there has to be something that could be had.
 */
export class Decisions {
  readonly #denying: readonly Rule[]
  readonly #allowing: readonly Rule[]
  /** Those that share, and those that take all of a machine away. */
  readonly #shares: readonly Rule[]
  readonly #closing: readonly Rule[]
  readonly #default: PolicyOptions['default']
  readonly #limitsOf: Tiers['limitsOf']
  readonly #isOwnAddress: (address: string) => boolean

  /**
   * @param isOwn whether a canonical address is one of the proxy's own computer
   * @throws {TunnelError} CONFIG_INVALID
   */
  constructor(options: PolicyOptions, limitsOf: Tiers['limitsOf'], isOwn = isOwnAddress) {
    this.#isOwnAddress = isOwn
    const rules = options.rules.map((rule, index) => new Rule(rule, index))
    this.#denying = rules.filter(({ isDeny }) => isDeny)
    this.#allowing = rules.filter(({ isDeny }) => !isDeny)
    this.#shares = this.#allowing.filter(({ isShare }) => isShare)
    this.#closing = this.#denying.filter(({ isWhole }) => isWhole)
    this.#default = options.default
    this.#limitsOf = limitsOf
  }

  /** @param addresses what the target's name stands for on the machine, where that is known: any may be dialled */
  decide(request: PolicyRequest, addresses: readonly string[] = []): Decision {
    const decision = this.#decide(request)
    if (!decision.allowed) return decision
    for (const address of addresses) {
      const refusal = this.#refusalOf(address, request, decision)
      if (refusal !== undefined) return refusal
    }
    return decision
  }

  /** A name is no way around what is said of the address behind it. */
  #refusalOf(address: string, request: PolicyRequest, { isNamed }: Decision): Decision | undefined {
    if (isMetadata(address)) return NEVER
    const { port } = askedTarget(request.target ?? '')
    const target = `${isIP(address) === 6 ? `[${address}]` : address}:${port}`
    const asked = askedTarget(target)
    const denying = this.#denying.find((rule) => rule.matches(request, asked))
    if (denying !== undefined) return deniedBy(denying)
    if (this.#isProxy(request, asked)) return PROXY_ITSELF
    if (!asked.isLoopback || isNamed === true) return undefined
    // Whoever answers for a name that only a glob allows shall not choose among the machine's own services.
    const own = this.#decide({ ...request, target })
    return own.allowed ? undefined : { ...own, reason: `the name leads to the machine itself: ${own.reason}` }
  }

  #decide(request: PolicyRequest): Decision {
    const { user, kind } = request
    if (kind === 'agent') return this.#decideAgent(request)
    if (user.roles.includes(AGENT_ROLE)) {
      return denied(
        'role agent',
        'a token with the role agent cannot open streams; use one without that role',
      )
    }
    const target = request.target === undefined ? undefined : askedTarget(request.target)
    if (request.target !== undefined && isMetadata(hostOf(request.target))) return NEVER
    if (request.isConfigured === true && request.mode === 'sealed' && target !== undefined) return NO_AGENT
    const denying = this.#denying.find((rule) => rule.matches(request, target))
    if (denying !== undefined) return deniedBy(denying)
    const allowing = this.#allowing.find((rule) => rule.matches(request, target))
    if (allowing !== undefined && target !== undefined && this.#isProxy(request, target)) return PROXY_ITSELF
    const decision =
      allowing === undefined
        ? this.#byDefault(request, target === undefined || target.isLoopback)
        : this.#byRule(allowing, request, target)
    return (decision.allowed && this.#lacking(request)) || decision
  }

  #byRule(allowing: Rule, request: PolicyRequest, target: AskedTarget | undefined): Decision {
    const decision: Decision = { allowed: true, rule: allowing.name, reason: 'this rule allows it' }
    return target !== undefined && this.#isNamed(request, target) ? { ...decision, isNamed: true } : decision
  }

  /** Whether a rule allows the very host of the target. */
  #isNamed(request: PolicyRequest, target: AskedTarget): boolean {
    return this.#allowing.some((rule) => rule.names(target) && rule.matches(request, target))
  }

  /** A glob or a network is not meant for the proxy, which stands in the network of its configured hosts. */
  #isProxy(request: PolicyRequest, target: AskedTarget): boolean {
    return (
      request.isConfigured === true &&
      !target.isLoopback &&
      target.spellings.some(({ host }) => this.#isOwnAddress(host)) &&
      !this.#isNamed(request, target)
    )
  }

  /** An agent is let in by its owner's token, and kept out by a rule alone. */
  #decideAgent(request: PolicyRequest): Decision {
    if (request.owner !== request.user.sub) return denied('policy.default', NOT_YOURS)
    const denying = this.#denying.find((rule) => rule.matches(request, undefined))
    if (denying !== undefined) return deniedBy(denying)
    return { allowed: true, rule: 'policy.default', reason: 'users put their own machines on line' }
  }

  #byDefault({ user, owner, mode }: PolicyRequest, isLoopback: boolean): Decision {
    if (owner !== user.sub) return denied('policy.default', NOT_YOURS)
    if (this.#default === 'deny') return denied('policy.default', 'no rule of this proxy allows it')
    if (isLoopback) {
      return { allowed: true, rule: 'policy.default', reason: 'owners reach their own machines' }
    }
    // Behind it stands the agent's own list, in which its owner has named the target.
    if (mode === 'sealed')
      return { allowed: true, rule: 'policy.default', reason: 'what the agent itself allows' }
    return denied('policy.default', "without a rule only the machine's own loopback is reached")
  }

  #lacking({ user, mode, kind }: PolicyRequest): Decision | undefined {
    const { modes, kinds } = this.#limitsOf(user)
    const lacks = (setting: string, what: string): Decision => ({
      allowed: false,
      rule: `tiers.${user.tier}.${setting}`,
      code: 'TIER_REQUIRED',
      reason: `the tier ${user.tier} has no ${what}`,
    })
    if (!modes.includes(mode)) return lacks('modes', `${mode} mode`)
    // Who may use a kind that a plugin has added is for that plugin and for rules to say.
    const isTiered = kind !== 'agent' && !isAddedKind(kind)
    if (isTiered && !(kinds as readonly StreamKind[]).includes(kind))
      return lacks('kinds', `streams of kind ${kind}`)
    return undefined
  }

  /** Undefined where rules share nothing with anybody. */
  sharedWith(user: User): Shared | undefined {
    const shares = this.#shares.filter((rule) => rule.matchesUser(user))
    if (shares.length === 0) return undefined
    const isMatch = (rules: readonly Rule[], owner: string, machine: string): boolean =>
      rules.some((rule) => rule.matchesMachine(user, owner, machine))
    return {
      owners: [...new Set(shares.flatMap((rule) => rule.owners))],
      includes: (owner, machine) =>
        isMatch(shares, owner, machine) && !isMatch(this.#closing, owner, machine),
    }
  }
}

const NEVER = denied('metadata addresses', 'link-local and metadata addresses are never reached')
/** As plugins/forward refuses it, whatever policy says. */
const NO_AGENT = denied('configured hosts', 'a configured host can only be reached at its own address')
const PROXY_ITSELF = denied(
  "the proxy's own addresses",
  'the address is one of the proxy itself, and no rule names that very address',
)
const NOT_YOURS = 'the machine belongs to somebody else'

function denied(rule: string, reason: string): Decision {
  return { allowed: false, rule, code: 'POLICY_DENIED', reason }
}

function deniedBy({ name, reason = 'a rule of this proxy forbids it' }: Rule): Decision {
  return denied(name, reason)
}

function hostOf(authority: string): string {
  return authority.slice(0, authority.lastIndexOf(':'))
}
