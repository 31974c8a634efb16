import { type Clock, systemClock } from '../../protocol/clock.ts'
import { type Work, WorkMeter } from '../../protocol/link/work-meter.ts'
import { Visitors } from './visitors.ts'

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
  readonly #hasOther: (userId: string) => boolean
  readonly #clock: Clock
  readonly #visitors: Visitors

  /** @param hasOther whether anybody else than this user has streams here */
  constructor(hasOther: (userId: string) => boolean, clock: Clock = systemClock) {
    this.#hasOther = hasOther
    this.#clock = clock
    this.#visitors = new Visitors(clock)
  }

  /** A request of the user's came by plain HTTP. */
  seen(userId: string): void {
    this.#visitors.seen(userId)
  }

  /** Whether there have to be turns for somebody: with a link of whatever role, with streams, or with requests. */
  #isShared(userId: string): boolean {
    return this.#accounts.size > 1 || this.#hasOther(userId) || this.#visitors.hasOther(userId)
  }

  /** For a link of the user's, which `leave` gives back. */
  join(userId: string): Work {
    const account = this.#accounts.get(userId) ?? {
      work: new WorkMeter(this.#clock, () => this.#isShared(userId)),
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
