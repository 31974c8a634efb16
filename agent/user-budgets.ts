import type { StreamsOptions } from '../protocol/options.ts'
import { Budget } from '../protocol/stream/budget.ts'

/** So many users may hold a whole budget each; what that makes is shared out evenly among more of them. */
const WHOLE_BUDGETS = 4
/** What a user can always have, in first windows. */
const LEAST_STREAMS = 4

/** Streams that one link may bring: out of the way, so that each user's budget is what bounds them. */
export function maxStreamsOf({ maxPerLink }: Pick<StreamsOptions, 'maxPerLink'>): number {
  return maxPerLink * WHOLE_BUDGETS * 8
}

/**
 * What the streams of each user may hold in an agent: nobody with whom a machine is shared can use up what it has for
 * its owner and for others.
 */
export class UserBudgets {
  readonly #settings: Pick<StreamsOptions, 'userBudgetBytes' | 'windowBytes'>
  readonly #budgets = new Map<string, Budget>()

  constructor(settings: Pick<StreamsOptions, 'userBudgetBytes' | 'windowBytes'>) {
    this.#settings = settings
  }

  /** Users who hold something, or have held it since the last stream came. */
  get size(): number {
    return this.#budgets.size
  }

  of(user: string): Budget {
    for (const [each, { usedBytes }] of this.#budgets) if (usedBytes === 0) this.#budgets.delete(each)
    const { userBudgetBytes, windowBytes } = this.#settings
    const budget = this.#budgets.get(user) ?? new Budget(userBudgetBytes)
    this.#budgets.set(user, budget)
    const share = (userBudgetBytes * WHOLE_BUDGETS) / Math.max(WHOLE_BUDGETS, this.#budgets.size)
    const least = Math.min(userBudgetBytes, windowBytes * LEAST_STREAMS)
    for (const each of this.#budgets.values()) each.totalBytes = Math.max(share, least)
    return budget
  }
}
