import { ChurningMap, ChurningSet } from '../churn.ts'
import { TunnelError } from '../codec/errors.ts'
import { MAX_STREAM_NUMBER } from '../codec/frames.ts'
import type { FrameSource } from './scheduler.ts'

/** What stands behind a stream number of a link: one end of a stream, or one leg of a relay. */
export interface LinkChannel extends FrameSource {
  frame(typeByte: number, frame: Uint8Array): void
  /** Sends its acknowledgement, if one is owed. */
  acknowledge(): void
  /** `readToMs`: the peer has read all that was sent before. Returns whether it should be asked for a later one. */
  tick(nowMs: number, readToMs: number): boolean
  linkClosed(): void
}

/**
 * What stands on one link, with a number or still without, and which numbers were used: the dialler's are odd, the
 * listener's even, each in increasing order.
 */
export class LinkChannels {
  readonly #dialler: boolean
  readonly #members = new ChurningSet<LinkChannel>()
  /** What has no place any more and wants to know of the link's end. */
  readonly #watching = new Set<LinkChannel>()
  readonly #byNumber = new ChurningMap<number, LinkChannel>()
  #nextNumber: number
  #peerNumber = 0
  #peerStreams = 0

  constructor(dialler: boolean) {
    this.#dialler = dialler
    this.#nextNumber = dialler ? 1 : 2
  }

  get size(): number {
    return this.#members.size
  }
  /** Streams that the peer has asked for. */
  get peerStreams(): number {
    return this.#peerStreams
  }
  /** No number is left for a stream of ours. */
  get usedUp(): boolean {
    return this.#nextNumber > MAX_STREAM_NUMBER
  }

  at(number: number): LinkChannel | undefined {
    return this.#byNumber.get(number)
  }

  /** Our next number; beyond MAX_STREAM_NUMBER when they are used up. */
  takeNumber(): number {
    const number = this.#nextNumber
    if (!this.usedUp) this.#nextNumber += 2
    return number
  }

  /** @throws {TunnelError} FRAME_INVALID for a number that the peer may not begin a stream with */
  takePeerNumber(number: number): void {
    if (!this.#isPeers(number))
      throw new TunnelError('FRAME_INVALID', `stream ${number} is ours to number`, { hop: 'link' })
    if (number <= this.#peerNumber)
      throw new TunnelError('FRAME_INVALID', `stream ${number} was used before`, { hop: 'link' })
    this.#peerNumber = number
  }

  /** Whether some stream has, or has had, the number. */
  wasUsed(number: number): boolean {
    return this.#isPeers(number) ? number <= this.#peerNumber : number < this.#nextNumber
  }

  #isPeers(number: number): boolean {
    return (number % 2 === 1) !== this.#dialler
  }

  add(channel: LinkChannel): void {
    this.#members.add(channel)
  }

  bind(number: number, channel: LinkChannel): void {
    this.#byNumber.set(number, channel)
    if (this.#isPeers(number)) this.#peerStreams++
  }

  remove(channel: LinkChannel, number: number | undefined): void {
    this.#members.delete(channel)
    this.#watching.delete(channel)
    if (number === undefined || this.#byNumber.get(number) !== channel) return
    this.#byNumber.delete(number)
    if (this.#isPeers(number)) this.#peerStreams--
  }

  /** Tells a channel that has no place here when the link closes. */
  watch(channel: LinkChannel): void {
    this.#watching.add(channel)
  }

  /** Looks at every channel; any may leave meanwhile. Returns whether one wants the peer asked for a sign of progress. */
  tick(nowMs: number, readToMs: number): boolean {
    let ask = false
    for (const channel of [...this.#members]) if (channel.tick(nowMs, readToMs)) ask = true
    return ask
  }

  /** The link is no more: all leave, and are told. */
  close(): void {
    const members = [...this.#members, ...this.#watching]
    this.#members.clear()
    this.#watching.clear()
    this.#byNumber.clear()
    for (const member of members) member.linkClosed()
  }
}
