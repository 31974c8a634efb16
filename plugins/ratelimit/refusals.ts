import type { FastifyReply } from 'fastify'
import type { Clock } from '../../protocol/clock.ts'
import { WorkMeter } from '../../protocol/link/work-meter.ts'
import { hasBody } from '../../protocol/node/http-body.ts'

/** What it takes to read a request and to refuse it, in µs, and one with a body, whose connection ends with that. */
const COST = { withoutBody: 500, withBody: 4_000 }
/** As much at once as a quarter of a second brings, in µs. */
const BURST = 250_000
/** Of one user or address: more wait for nothing, and their connections are closed instead. */
const MAX_WAITING = 64
/** How long an answer is held back at most, in ms. */
const MAX_WAIT_MS = 5_000
/** Users and addresses at once; the one that was refused the longest ago is forgotten. */
const MAX_KEYS = 10_000

interface Refused {
  readonly work: WorkMeter
  waiting: number
}

/**
 * What refusing costs for each user and address. Whoever asks again and again gets the same answer, later and later: to
 * refuse one is not to take the time of others.
 */
export class Refusals {
  readonly #clock: Clock
  readonly #refused = new Map<string, Refused>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves when `key` may be told that it was refused: at once, while it does not ask often. */
  async turn(key: string, reply: FastifyReply): Promise<void> {
    const refused = this.#of(key)
    const waitMs = refused.work.charge(hasBody(reply.request) ? COST.withBody : COST.withoutBody)
    if (waitMs === 0) return
    if (refused.waiting >= MAX_WAITING) {
      reply.header('connection', 'close')
      return
    }
    refused.waiting++
    await new Promise<void>((resolve) => {
      this.#clock.setTimer(resolve, Math.min(waitMs, MAX_WAIT_MS))
    })
    refused.waiting--
  }

  #of(key: string): Refused {
    const refused = this.#refused.get(key) ?? {
      work: new WorkMeter(this.#clock, undefined, BURST),
      waiting: 0,
    }
    this.#refused.delete(key)
    this.#refused.set(key, refused)
    if (this.#refused.size > MAX_KEYS) this.#refused.delete(this.#refused.keys().next().value as string)
    return refused
  }
}
