import { timingSafeEqual } from 'node:crypto'
import type { Credential } from '../auth/index.ts'
import type { Json, State } from '../state/index.ts'
import { hashOfCode, newCode } from './code.ts'
import { codeInvalid, tooManyAtOnce, tooManyCodes } from './errors.ts'
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

/** A user's code that nobody may have used yet. */
interface Waiting {
  /** Of the code's record. */
  key: string
  machine: string
  /** Epoch ms. */
  expiresAtMs: number
}

const WAITING = 'enrolment'
/** By user: what was made for the user. So a new code waits for nobody else's. */
const OF_USER = 'enrolment-of'
/** Codes that have been used stay here until they would have expired: of two attempts at once, one wins. */
const USED = 'enrolment-used'
/** How often a code is noted again because another of the same user came between; each time one of them has won. */
const ATTEMPTS = 64
/** As much of the hash as makes a record's key; the rest is compared in constant time. */
const KEY_LENGTH = 16

const keyOf = (hash: string): string => hash.slice(0, KEY_LENGTH)

/** One-time codes: made for a machine of a user, good for one use within minutes. */
export class EnrolmentCodes {
  readonly #state: State
  readonly #options: EnrolmentOptions

  constructor(state: State, options: EnrolmentOptions) {
    this.#state = state
    this.#options = options
  }

  /**
   * A code for this machine; an earlier one for it is no longer good.
   * @throws {TunnelError} RATE_LIMITED where too many wait to be used
   */
  async make(enrolment: Enrolment): Promise<{ code: string; expiresAtMs: number }> {
    const { user, machine } = enrolment
    const { codeMs } = this.#options
    // Nothing is written for whoever has too many.
    this.#check(machine, (await this.#waitingOf(user)).waiting)
    const code = newCode()
    const hash = hashOfCode(code)!
    const key = keyOf(hash)
    const expiresAtMs = Date.now() + codeMs
    const { credential, ...whose } = enrolment
    const made = credential === undefined ? whose : { ...whose, credential: { ...credential } }
    // First: what is noted and is not there was used.
    await this.#state.put(WAITING, key, { ...made, hash, expiresAtMs }, { ttlMs: codeMs })
    try {
      await this.#note(user, { key, machine, expiresAtMs })
    } catch (error) {
      await this.#state.delete(WAITING, key)
      throw error
    }
    return { code, expiresAtMs }
  }

  /** Notes a code of a user's in the place of what there is for its machine. @throws {TunnelError} RATE_LIMITED */
  async #note(user: string, made: Waiting): Promise<void> {
    const { codeMs } = this.#options
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { noted, waiting } = await this.#waitingOf(user)
      this.#check(made.machine, waiting)
      const others = waiting.filter(({ machine }) => machine !== made.machine)
      const next = [...others, made] as unknown as Json
      const options = { ttlMs: codeMs }
      const isMine =
        noted === undefined
          ? await this.#state.create(OF_USER, user, next, options)
          : await this.#state.replace(OF_USER, user, noted, next, options)
      if (!isMine) continue
      for (const { key, machine } of waiting)
        if (machine === made.machine) await this.#state.delete(WAITING, key)
      return
    }
    throw tooManyAtOnce()
  }

  /** What is noted of a user's codes, and which of them nobody has used yet. */
  async #waitingOf(user: string): Promise<{ noted: Json | undefined; waiting: Waiting[] }> {
    const noted = await this.#state.get(OF_USER, user)
    const all = (Array.isArray(noted) ? noted : []) as unknown as Waiting[]
    const waiting = all.filter(({ expiresAtMs }) => expiresAtMs > Date.now())
    // They are looked for only where they would be too many: the user waits for as many answers.
    if (waiting.length < this.#options.maxCodesPerUser) return { noted, waiting }
    const found = await Promise.all(waiting.map(({ key }) => this.#state.get(WAITING, key)))
    return { noted, waiting: waiting.filter((_code, index) => found[index] !== undefined) }
  }

  /** @throws {TunnelError} RATE_LIMITED where one more for this machine is too many */
  #check(machine: string, waiting: readonly Waiting[]): void {
    const { maxCodesPerUser } = this.#options
    if (waiting.filter((code) => code.machine !== machine).length < maxCodesPerUser) return
    const soonest = Math.min(...waiting.map(({ expiresAtMs }) => expiresAtMs))
    throw tooManyCodes(maxCodesPerUser, Math.max(1, soonest - Date.now()))
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
    const { expiresAtMs } = record
    const options = { ttlMs: Math.max(1, expiresAtMs - Date.now()) }
    if (!(await this.#state.create(USED, key, { expiresAtMs }, options))) throw codeInvalid()
    await this.#state.delete(WAITING, key)
    const { user, tier, machine, credential } = record
    return { user, tier, machine, ...(credential !== undefined && { credential }) }
  }
}

function read(value: Json | undefined): CodeRecord | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const { user, tier, machine, hash, expiresAtMs } = value
  const isWhole = [user, tier, machine, hash].every((text) => typeof text === 'string')
  return isWhole && typeof expiresAtMs === 'number' ? (value as unknown as CodeRecord) : undefined
}
