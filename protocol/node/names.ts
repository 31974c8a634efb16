import { isIP } from 'node:net'
import { type Hop, TunnelError } from '../codec/errors.ts'
import { MAX_ADDRESSES } from '../codec/lookup.ts'
import { canonicalHost, isLinkLocal6, isMetadata } from './addresses.ts'
import { type Address, interleaved, lookupAll } from './connect.ts'
import { LookupPlaces } from './lookup-places.ts'

/** Finds the addresses of a name, in the order of preference. */
export type Lookup = (name: string) => Promise<readonly Address[]>

/** How long the system's resolver has, in ms: long enough to ask a second server when the first is silent. */
const LOOKUP_MS = 10_000
/** Of what a resolver answers, so much is looked at; nothing beyond that is ever dialled. */
const MAX_FOUND = 64
/**
 * Lookups at once. libuv gives those of the system's resolver half of its threads, two where its environment does not say
 * otherwise, each until the resolver has answered, whether or not anybody still waits.
 */
const MAX_AT_ONCE = { ofSystem: 2, ofOthers: 7 }
/** Those of one user that may wait for their turn. */
const MAX_WAITING = 256
const RETRY_MS = 1_000

interface Waiting {
  readonly whose: string
  start(giveBack: () => void): void
}

/**
 * Resolves names as the host does that this process runs on, and gives only addresses that may be dialled. Whoever asks
 * dials by address from then on: by the next time the name may lead anywhere.
 */
export class Names {
  readonly #hop: Hop
  readonly #lookup: Lookup
  readonly #places: LookupPlaces
  readonly #waiting = new Set<Waiting>()

  /**
   * @param lookup @default the system's resolver
   * @param maxAtOnce 2 at least
   */
  constructor(
    hop: Hop,
    lookup: Lookup | undefined,
    maxAtOnce = lookup === undefined ? MAX_AT_ONCE.ofSystem : MAX_AT_ONCE.ofOthers,
  ) {
    this.#places = new LookupPlaces(maxAtOnce)
    this.#hop = hop
    this.#lookup = lookup ?? lookupAll
  }

  /**
   * @param whose who asks: nobody holds up the others
   * @throws {TunnelError} DNS_FAILED, POLICY_DENIED, TIMEOUT, TOO_MANY_CONNECTIONS, ABORTED
   */
  resolve(name: string, whose: string, signal?: AbortSignal): Promise<string[]> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(this.#error('ABORTED', `nobody waits for ${name} any more`))
      if (this.#waitingOf(whose) >= MAX_WAITING) return reject(this.#tooMany())
      const waiting: Waiting = {
        whose,
        start: (giveBack) =>
          void this.#find(name)
            .then(settle(resolve), settle(reject))
            .finally(() => {
              // Perhaps long after whoever asked was told that the resolver has not answered.
              giveBack()
              this.#next()
            }),
      }
      const settle =
        <T>(tell: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer)
          signal?.removeEventListener('abort', onAbort)
          this.#waiting.delete(waiting)
          tell(value)
        }
      const onAbort = (): void => settle(reject)(this.#error('ABORTED', `nobody waits for ${name} any more`))
      const late = (): void =>
        settle(reject)(
          this.#error('TIMEOUT', `the resolver did not answer for ${name} within ${LOOKUP_MS / 1_000} s`),
        )
      const timer = setTimeout(late, LOOKUP_MS).unref()
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiting)
      this.#next()
    })
  }

  #waitingOf(whose: string): number {
    let count = 0
    for (const each of this.#waiting) if (each.whose === whose) count++
    return count
  }

  #next(): void {
    for (const waiting of this.#waiting) {
      if (this.#places.isFull) return
      if (!this.#places.isFreeFor(waiting.whose)) continue
      this.#waiting.delete(waiting)
      waiting.start(this.#places.take(waiting.whose))
    }
  }

  async #find(name: string): Promise<string[]> {
    // Whatever the answer would be.
    if (isMetadata(name)) throw this.#forbidden(name)
    const found = await this.#lookup(name).catch((cause: NodeJS.ErrnoException) => {
      throw this.#error('DNS_FAILED', `${name} could not be resolved (${cause.code ?? cause.message})`, cause)
    })
    const canonical = found.slice(0, MAX_FOUND).map(({ address }) => canonicalHost(address))
    const addresses = canonical.map((address) => ({ address, family: isIP(address) }))
    // Names of a local network have such a one beside others. It means nothing without its interface.
    const routed = addresses.filter(({ address }) => !isLinkLocal6(address))
    if (routed.some(({ address }) => isMetadata(address)) || (routed.length === 0 && addresses.length > 0))
      throw this.#forbidden(name)
    if (routed.length === 0) throw this.#error('DNS_FAILED', `${name} has no address`)
    const inTurn = interleaved(routed).map(({ address }) => address)
    return [...new Set(inTurn)].slice(0, MAX_ADDRESSES)
  }

  #error(
    code: 'ABORTED' | 'DNS_FAILED' | 'POLICY_DENIED' | 'TIMEOUT',
    text: string,
    cause?: unknown,
  ): TunnelError {
    return new TunnelError(code, text, { hop: this.#hop, cause })
  }

  #forbidden(name: string): TunnelError {
    return this.#error(
      'POLICY_DENIED',
      `${name} leads to a link-local or metadata address, which is never reached`,
    )
  }

  #tooMany(): TunnelError {
    const text = `more than ${MAX_WAITING} names of yours wait for the resolver`
    return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: this.#hop, retryAfterMs: RETRY_MS })
  }
}
