import type { NameCheck } from '../ssh/index.ts'
import type { OpenContext } from './hooks.ts'
import type { PassageServices } from './shared.ts'

/** Where the name of a stream's target leads: policy is asked about each address, and the audit trail has them. */
export class TargetNames implements NameCheck {
  readonly #context: OpenContext
  readonly #policy: PassageServices['policy']

  constructor(context: OpenContext, policy: PassageServices['policy']) {
    this.#context = context
    this.#policy = policy
  }

  check(addresses: readonly string[]): Promise<void> {
    this.#context.addresses = addresses
    return this.#policy.check(policyRequest(this.#context), addresses)
  }

  async isTrusted(): Promise<boolean> {
    const decision = await this.#policy.explain?.(policyRequest(this.#context))
    return decision?.allowed === true && decision.isNamed === true
  }
}

/** What policy is asked about a stream that has been admitted. */
function policyRequest({ user, machine, owner = user.sub, mode, head: { kind }, target }: OpenContext) {
  const request = { user, machine, owner, mode, kind }
  return target === undefined ? request : { ...request, target }
}
