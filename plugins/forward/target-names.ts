import type { Route } from '../machines/index.ts'
import type { PolicyRequest } from '../policy/index.ts'
import type { NameCheck } from '../ssh/index.ts'
import type { OpenContext } from './hooks.ts'
import type { PassageServices } from './shared.ts'

/** Where the name of a stream's target leads: policy is asked about each address, and the audit trail has them. */
export class TargetNames implements NameCheck {
  readonly #context: OpenContext
  readonly #source: Route['source']
  readonly #policy: PassageServices['policy']

  constructor(context: OpenContext, { source }: Pick<Route, 'source'>, policy: PassageServices['policy']) {
    this.#context = context
    this.#source = source
    this.#policy = policy
  }

  check(addresses: readonly string[]): Promise<void> {
    this.#context.addresses = addresses
    return this.#policy.check(this.#request, addresses)
  }

  async isTrusted(): Promise<boolean> {
    const decision = await this.#policy.explain?.(this.#request)
    return decision?.allowed === true && decision.isNamed === true
  }

  /** What policy is asked about a stream that has been admitted. */
  get #request(): PolicyRequest {
    const { user, machine, owner = user.sub, mode, head, target } = this.#context
    const isConfigured = this.#source === 'configured'
    const request = { user, machine, owner, mode, kind: head.kind, isConfigured }
    return target === undefined ? request : { ...request, target }
  }
}
