import { BlockList, isIPv4, isIPv6 } from 'node:net'
import type { Clock } from '../../protocol/clock.ts'
import type { ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { networkOf } from '../../protocol/node/network-of.ts'
import { Sweep } from '../../protocol/sweep.ts'
import type { State } from '../state/index.ts'
import type { PenaltyOptions } from './options.ts'

/** `authFail`: a credential that is none. `noAuth`: none, or one that is over. `handshake`: no whole request. */
export type Offence = 'authFail' | 'noAuth' | 'handshake'

const OFFENCES: Partial<Record<ErrorCode, Offence>> = {
  TOKEN_INVALID: 'authFail',
  TICKET_INVALID: 'authFail',
  TOKEN_MISSING: 'noAuth',
  TOKEN_EXPIRED: 'noAuth',
  TOKEN_REVOKED: 'noAuth',
}

/** What a request that was refused so was; undefined: nothing that its address pays for. */
export function offenceOf({ code }: TunnelError): Offence | undefined {
  return OFFENCES[code]
}

/** Penalties that are looked at on each new one: more than one, so that they go faster than they come. */
const SWEPT_PER_OFFENCE = 4
/** One token of the bucket is one ms of penalty, so that it empties and fills as time passes. */
const MS_PER_MINUTE = 60_000

interface Penalty {
  untilMs: number
  /** It has reached `minMs` once, and holds until it is over. */
  isActive: boolean
}

/**
 * What addresses have done wrong, as sshd's PerSourcePenalties count it: each offence adds its time, time takes it away,
 * and an address that has come to `minMs` is refused until nothing is left. The sum over all replicas is a bucket of the
 * state; a replica that has not seen an address learns of its penalty with the first offence there, so that asking costs
 * no round trip.
 */
export class Penalties {
  readonly #options: PenaltyOptions
  readonly #state: Pick<State, 'takeToken'>
  readonly #clock: Clock
  readonly #exempt: BlockList
  /** By network. */
  readonly #penalties = new Map<string, Penalty>()
  readonly #sweep = new Sweep(this.#penalties, SWEPT_PER_OFFENCE)
  /** With `deny-all`: until when everybody is refused because there was no room. */
  #fullUntilMs = Number.NEGATIVE_INFINITY

  constructor(options: PenaltyOptions, state: Pick<State, 'takeToken'>, clock: Clock) {
    this.#options = options
    this.#state = state
    this.#clock = clock
    this.#exempt = blockListOf(options.exempt)
  }

  /** Addresses with a penalty, whether or not it is large enough to act on. */
  get size(): number {
    return this.#penalties.size
  }

  /** How long this address is refused, in ms from now; 0: it is not. */
  refusedMs(address: string): number {
    const now = this.#clock.now()
    if (this.#penalties.size === 0 || this.#isExempt(address)) return 0
    const penalty = this.#penalties.get(networkOf(address))
    const untilMs = penalty?.isActive === true ? penalty.untilMs : now
    return Math.max(0, Math.ceil(Math.max(untilMs, this.#fullUntilMs) - now))
  }

  /** Holds at once; resolves when what other replicas know of the address holds here too. */
  async add(address: string, offence: Offence): Promise<void> {
    const { maxMs } = this.#options
    const ms = Math.min(this.#options[`${offence}Ms`], maxMs)
    if (ms === 0 || this.#isExempt(address)) return
    const network = networkOf(address)
    const now = this.#clock.now()
    const leftMs = Math.max(0, (this.#penalties.get(network)?.untilMs ?? now) - now)
    this.#set(network, now, Math.min(maxMs, leftMs + ms))
    const bucket = { perMinute: MS_PER_MINUTE, burst: maxMs }
    const { remaining } = await this.#state.takeToken(`penalty:${network}`, bucket, ms)
    this.#set(network, this.#clock.now(), maxMs - remaining)
  }

  /** What is known elsewhere never makes a penalty shorter. */
  #set(network: string, now: number, ms: number): void {
    const before = this.#penalties.get(network)
    const wasOver = before === undefined || before.untilMs <= now
    const untilMs = wasOver ? now + ms : Math.max(before.untilMs, now + ms)
    const isActive = untilMs - now >= this.#options.minMs || (!wasOver && before.isActive)
    for (const [over, { untilMs: endMs }] of this.#sweep.some())
      if (endMs <= now) this.#penalties.delete(over)
    if (!this.#penalties.has(network) && this.#penalties.size >= this.#options.maxSources) {
      if (this.#options.overflow === 'deny-all') {
        if (this.#fullUntilMs <= now) this.#fullUntilMs = this.#firstEndMs()
        return
      }
      this.#forgetOne()
    }
    this.#penalties.set(network, { untilMs, isActive })
  }

  #forgetOne(): void {
    // At the end of a round it gives nothing, and begins again.
    for (const [network] of [...this.#sweep.some(), ...this.#sweep.some()]) {
      this.#penalties.delete(network)
      return
    }
  }

  #firstEndMs(): number {
    let firstMs = Number.POSITIVE_INFINITY
    for (const { untilMs } of this.#penalties.values()) firstMs = Math.min(firstMs, untilMs)
    return firstMs
  }

  #isExempt(address: string): boolean {
    if (isIPv4(address)) return this.#exempt.check(address)
    return isIPv6(address) && this.#exempt.check(address, 'ipv6')
  }
}

/** Addresses and networks, which config/ has checked. */
function blockListOf(entries: readonly string[]): BlockList {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', bits] = entry.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(bits), family)
  }
  return list
}
