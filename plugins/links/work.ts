import { systemClock } from '../../protocol/clock.ts'
import { type Work, WorkMeter } from '../../protocol/link/work-meter.ts'

/** How long a user's account is kept without a link, in ms: until it would be full again, so that dialling again gains nothing. */
const KEEP_MS = 60_000

interface Account {
  readonly work: WorkMeter
  links: number
  forget: NodeJS.Timeout | undefined
}

/** What each user's links cause to be done, together. */
export class UserWork {
  readonly #accounts = new Map<string, Account>()
  readonly #isShared: () => boolean

  /** @param isShared whether more than one user has something here */
  constructor(isShared: () => boolean) {
    this.#isShared = isShared
  }

  /** For a link of the user's, which `leave` gives back. */
  join(userId: string): Work {
    const account = this.#accounts.get(userId) ?? {
      work: new WorkMeter(systemClock, this.#isShared),
      links: 0,
      forget: undefined,
    }
    this.#accounts.set(userId, account)
    clearTimeout(account.forget)
    account.links++
    return account.work
  }

  leave(userId: string): void {
    const account = this.#accounts.get(userId)
    if (account === undefined || --account.links > 0) return
    account.forget = setTimeout(() => this.#accounts.delete(userId), KEEP_MS).unref()
  }

  /** Forgets all accounts, with the timers that would do so later. */
  clear(): void {
    for (const { forget } of this.#accounts.values()) clearTimeout(forget)
    this.#accounts.clear()
  }
}
