import { timingSafeEqual } from 'node:crypto'
import type { Credential } from '../auth/index.ts'
import type { Json, State } from '../state/index.ts'
import { hashOfCode, newCode } from './code.ts'
import { codeInvalid, tooManyCodes } from './errors.ts'
import type { EnrolmentOptions } from './options.ts'

/** For whom a code was made. */
export interface Enrolment {
  user: string
  tier: string
  machine: string
  /** Of the token that it was made with: a code is worth no more than that once it was revoked. */
  credential?: Credential
}

interface CodeRecord extends Enrolment {
  /** Of the code, which itself is kept nowhere. */
  hash: string
  /** Epoch ms. */
  expiresAtMs: number
}

const WAITING = 'enrolment'
/** Codes that have been used stay here until they would have expired: of two attempts at once, one wins. */
const USED = 'enrolment-used'
/** Of all users, in either namespace. */
const MAX_RECORDS = 10_000
/** How often what has been used up is looked through, in ms: there may be thousands, and each new code would wait for that. */
const SWEEP_USED_MS = 60_000
/** As much of the hash as makes a record's key; the rest is compared in constant time. */
const KEY_LENGTH = 16

const keyOf = (hash: string): string => hash.slice(0, KEY_LENGTH)

/** One-time codes: made for a machine of a user, good for one use within minutes. */
export class EnrolmentCodes {
  readonly #state: State
  readonly #options: EnrolmentOptions
  /** The last code that is being made: what is counted must not change before it is stored. */
  #lastMade: Promise<unknown> = Promise.resolve()
  #sweptUsedAtMs = Number.NEGATIVE_INFINITY

  constructor(state: State, options: EnrolmentOptions) {
    this.#state = state
    this.#options = options
  }

  /**
   * A code for this machine; an earlier one for it is no longer good.
   * @throws {TunnelError} RATE_LIMITED where too many wait to be used
   */
  make(enrolment: Enrolment): Promise<{ code: string; expiresAtMs: number }> {
    const made = this.#lastMade.then(() => this.#make(enrolment))
    this.#lastMade = made.catch(() => {})
    return made
  }

  async #make(enrolment: Enrolment): Promise<{ code: string; expiresAtMs: number }> {
    const { user, machine } = enrolment
    const waiting = await this.#sweep()
    const own = waiting.filter((record) => record.user === user)
    const former = own.filter((record) => record.machine === machine)
    const { maxCodesPerUser, codeMs } = this.#options
    if (own.length - former.length >= maxCodesPerUser || waiting.length >= MAX_RECORDS) {
      const soonest = Math.min(...own.map(({ expiresAtMs }) => expiresAtMs), Date.now() + codeMs)
      throw tooManyCodes(Math.min(maxCodesPerUser, own.length), Math.max(1, soonest - Date.now()))
    }
    for (const { hash } of former) await this.#state.delete(WAITING, keyOf(hash))
    const code = newCode()
    const hash = hashOfCode(code)!
    const expiresAtMs = Date.now() + codeMs
    const { credential, ...whose } = enrolment
    const made = credential === undefined ? whose : { ...whose, credential: { ...credential } }
    await this.#state.put(WAITING, keyOf(hash), { ...made, hash, expiresAtMs })
    return { code, expiresAtMs }
  }

  /**
   * Uses a code up. @throws {TunnelError} TICKET_INVALID
   */
  async use(code: string): Promise<Enrolment> {
    const hash = hashOfCode(code)
    if (hash === undefined) throw codeInvalid()
    const key = keyOf(hash)
    const record = read(await this.#state.get(WAITING, key))
    if (record === undefined || record.expiresAtMs <= Date.now()) throw codeInvalid()
    if (!timingSafeEqual(Buffer.from(record.hash), Buffer.from(hash))) throw codeInvalid()
    if (!(await this.#state.create(USED, key, { expiresAtMs: record.expiresAtMs }))) throw codeInvalid()
    await this.#state.delete(WAITING, key)
    const { user, tier, machine, credential } = record
    return { user, tier, machine, ...(credential !== undefined && { credential }) }
  }

  /** Deletes what has expired, and answers with what has not. */
  async #sweep(): Promise<CodeRecord[]> {
    const now = Date.now()
    await this.#sweepUsed(now)
    const waiting: CodeRecord[] = []
    for (const [key, value] of await this.#state.list(WAITING, '', MAX_RECORDS)) {
      const record = read(value)
      if (record !== undefined && record.expiresAtMs > now) waiting.push(record)
      else await this.#state.delete(WAITING, key)
    }
    return waiting
  }

  async #sweepUsed(now: number): Promise<void> {
    if (Math.abs(now - this.#sweptUsedAtMs) < SWEEP_USED_MS) return
    this.#sweptUsedAtMs = now
    for (const [key, value] of await this.#state.list(USED, '', MAX_RECORDS)) {
      if (expiryOf(value) <= now) await this.#state.delete(USED, key)
    }
  }
}

function expiryOf(value: Json): number {
  const at = (value as { expiresAtMs?: unknown } | null)?.expiresAtMs
  return typeof at === 'number' ? at : 0
}

function read(value: Json | undefined): CodeRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { user, tier, machine, hash, expiresAtMs } = value
  const isWhole = [user, tier, machine, hash].every((text) => typeof text === 'string')
  return isWhole && typeof expiresAtMs === 'number' ? (value as unknown as CodeRecord) : undefined
}
