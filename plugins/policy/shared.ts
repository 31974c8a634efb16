import { TunnelError } from '../../protocol/codec/errors.ts'
import { sharedFailed } from './errors.ts'
import type { Policy, Shared } from './index.ts'

/**
 * Holds a plugin's `sharedWith`, and the `includes` that it brings, to their contract: both answer at once, because machines
 * are looked up where nothing waits. Whoever asked is refused where they do not. A promise would pass for yes, and end the
 * process when it is rejected.
 * @param failed told each time: nobody else would learn whose fault it is
 */
export function answerAtOnce(policy: Policy, failed: (error: Error) => void): void {
  const { sharedWith } = policy
  if (sharedWith === undefined) return
  const held = <T>(what: string, ask: () => T): T => {
    try {
      return settled(ask())
    } catch (error) {
      if (error instanceof TunnelError) throw error
      const failure = sharedFailed(what, error)
      failed(failure)
      throw failure
    }
  }
  policy.sharedWith = (user) => {
    const shared = held('sharedWith', () => checked(settled(sharedWith.call(policy, user))))
    if (shared === undefined) return undefined
    const includes: Shared['includes'] = (owner, machine) =>
      held('includes', () => shared.includes(owner, machine))
    return { owners: shared.owners, includes }
  }
}

/** @throws {TypeError} for a promise, which nobody hears of any more */
function settled<T>(answer: T): T {
  if (typeof (answer as { then?: unknown } | null | undefined)?.then !== 'function') return answer
  Promise.resolve(answer).catch(() => {})
  throw new TypeError('it answered with a promise')
}

function checked(shared: Shared | null | undefined): Shared | undefined {
  if (shared === undefined || shared === null) return undefined
  const { owners, includes } = shared as Partial<Shared>
  const isList = Array.isArray(owners) && owners.every((owner) => typeof owner === 'string')
  if (isList && typeof includes === 'function') return shared
  throw new TypeError('it answered with something other than {owners, includes}')
}
