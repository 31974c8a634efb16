import type { Clock } from '../../protocol/clock.ts'
import { keysUnavailable, tokenInvalid } from './errors.ts'
import { type IssuerKey, readKeySet } from './jwk.ts'
import { type Demands, type Verify, verifierOf } from './verifier.ts'

export interface IssuerKeysOptions {
  /** Of the key set (`jwks_uri`). Nothing of a token decides what is fetched. */
  url: string
  /** Keys are read anew when they are this old, and known ones hold meanwhile. */
  maxAgeMs: number
  /** Keys hold for so long while the issuer does not answer. */
  holdMs: number
  /** At most one fetch begins in this time, whatever tokens come. */
  cooldownMs: number
}

const FETCH_MS = 5_000
const MAX_BYTES = 262_144

interface Known extends IssuerKey {
  verify: Verify
}

/**
 * The keys by which an issuer signs, read from its key set when they are needed. get-jwks fetches for every key id that
 * it does not know, whoever has made it up, without a limit of time or size, and such ids push the known keys out of its
 * cache; jose fetches for every token while the issuer is away. Here a flood of either costs the issuer one request in
 * `cooldownMs`.
 */
export class IssuerKeys {
  readonly #options: IssuerKeysOptions
  readonly #demands: Demands
  readonly #clock: Clock
  readonly #failed: (error: unknown) => void
  #keys: readonly Known[] = []
  #readAtMs = Number.NEGATIVE_INFINITY
  #triedAtMs = Number.NEGATIVE_INFINITY
  #reading: Promise<void> | undefined

  /** @param failed told of each fetch that failed */
  constructor(options: IssuerKeysOptions, demands: Demands, clock: Clock, failed: (error: unknown) => void) {
    this.#options = options
    this.#demands = demands
    this.#clock = clock
    this.#failed = failed
  }

  /**
   * The verifier for a token whose header says this.
   * @throws {TunnelError} TOKEN_INVALID for a key that the issuer does not have, STATE_UNAVAILABLE while it is not known
   */
  async verifierFor(kid: unknown, alg: unknown): Promise<Verify> {
    const ageMs = this.#clock.now() - this.#readAtMs
    const known = ageMs < this.#options.holdMs ? this.#find(kid, alg) : undefined
    if (known !== undefined) {
      if (ageMs >= this.#options.maxAgeMs) void this.#read()
      return known
    }
    await this.#read()
    if (this.#clock.now() - this.#readAtMs >= this.#options.holdMs)
      throw keysUnavailable(this.#options.cooldownMs)
    const found = this.#find(kid, alg)
    if (found === undefined) throw tokenInvalid('its issuer has no such key (kid, alg)')
    return found
  }

  /** Without a key id the algorithm has to tell which key is meant. */
  #find(kid: unknown, alg: unknown): Verify | undefined {
    const fitting = this.#keys.filter(
      (key) => (kid === undefined || key.kid === kid) && key.algorithms.some((name) => name === alg),
    )
    return fitting.length === 1 ? fitting[0]?.verify : undefined
  }

  /** One fetch at a time, and none so soon after another; fails without an error. */
  async #read(): Promise<void> {
    if (this.#reading !== undefined) return this.#reading
    if (this.#clock.now() - this.#triedAtMs < this.#options.cooldownMs) return
    this.#triedAtMs = this.#clock.now()
    this.#reading = this.#fetch().catch((error: unknown) => this.#failed(error))
    await this.#reading
    this.#reading = undefined
  }

  async #fetch(): Promise<void> {
    const response = await fetch(this.#options.url, {
      headers: { accept: 'application/jwk-set+json, application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(FETCH_MS),
    })
    const text = await textOf(response)
    if (!response.ok) throw new Error(`${this.#options.url} answered ${response.status}`)
    const keys = readKeySet(JSON.parse(text))
    if (keys.length === 0) throw new Error(`${this.#options.url} has no key that could be used`)
    this.#keys = keys.map((key) => ({ ...key, verify: verifierOf(key.pem, key.algorithms, this.#demands) }))
    this.#readAtMs = this.#clock.now()
  }
}

async function textOf({ body, url }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > MAX_BYTES) throw new Error(`${url} answered more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}
