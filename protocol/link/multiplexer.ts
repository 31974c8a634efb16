import type { Clock } from '../clock.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import { type LinkChannel, LinkChannels } from './channels.ts'
import { Inbox } from './inbox.ts'
import { LinkEnding } from './link-ending.ts'
import type { Traffic } from './traffic.ts'
import type { Transport } from './transport.ts'
import { costOfFrame, REFUSAL_COST, type Work } from './work-meter.ts'
import { LinkWriter } from './writer.ts'

export interface MultiplexerOptions {
  transport: Transport
  dialler: boolean
  clock: Clock
  traffic: Traffic
  work: Work | undefined
}

/** What the channels of a link share: its numbers, its turns to send, what its peer may make us do, and its end. */
export abstract class Multiplexer {
  protected readonly channels: LinkChannels
  protected readonly outlet: LinkWriter
  protected readonly ending: LinkEnding
  readonly #clock: Clock
  readonly #inbox: Inbox
  readonly #work: Work | undefined
  /** Set when the link is to close as soon as nothing stands on it. */
  #idleTimer: unknown

  constructor({ transport, dialler, clock, traffic, work }: MultiplexerOptions) {
    this.#clock = clock
    this.#work = work
    const channels = new LinkChannels(dialler)
    const outlet = new LinkWriter({ transport, clock, isShared: () => channels.size > 1, traffic })
    this.channels = channels
    this.outlet = outlet
    this.ending = new LinkEnding({
      transport,
      silence: () => outlet.close(),
      over: (error) => this.stop(error),
    })
    this.#inbox = new Inbox({
      ...{ clock, work },
      deliver: (frame) => this.#deliver(frame),
      hold: () => this.hold(),
      unhold: () => this.unhold(),
    })
  }

  get closed(): boolean {
    return this.closedWith !== undefined
  }
  get closedWith(): TunnelError | undefined {
    return this.ending.closedWith
  }
  /** The peer has closed it, and normally. */
  get leftByPeer(): boolean {
    return this.ending.leftByPeer
  }
  /** Resolves when the connection beneath has ended: nothing that was sent can be on its way out any more. */
  get gone(): Promise<void> {
    return this.ending.gone
  }
  /** Streams and relay legs that stand on this link. */
  get streamCount(): number {
    return this.channels.size
  }

  /** Sends past the scheduler; for what is not counted, and small. */
  send(frame: Uint8Array): void {
    this.outlet.send(frame)
  }

  /** Ends the link, telling the peer why; its streams are suspended. Without an error: a normal closure (1000). */
  close(error?: TunnelError): void {
    if (error === undefined) this.ending.leave()
    else this.ending.fail(error)
  }

  /** Closes normally when nothing stands on the link any more, or when `deadlineMs` is over. */
  closeWhenIdle(deadlineMs: number): void {
    if (this.channels.size === 0) return this.close()
    this.#idleTimer ??= this.#clock.setTimer(() => this.close(), deadlineMs)
  }

  /** Stops reading from this peer until `unhold`, so that it feels that its bytes go nowhere. */
  hold(): void {
    this.outlet.hold()
  }
  unhold(): void {
    this.outlet.unhold()
  }

  takeNumber(): number {
    // Nothing leaves under a number that there is not: the streams go on over the next link.
    if (this.channels.usedUp) {
      const text = 'this link has used up its stream numbers'
      this.ending.fail(new TunnelError('TOO_MANY_STREAMS', text, { hop: 'link' }))
    }
    return this.channels.takeNumber()
  }

  /** `channel` stands on this link from now on: it is told when the link closes. */
  join(channel: LinkChannel): void {
    // Whoever waited for something may come after its end; never before `join` has returned.
    if (this.closed) queueMicrotask(() => channel.linkClosed())
    else this.channels.add(channel)
  }

  bind(number: number, channel: LinkChannel): void {
    this.channels.bind(number, channel)
  }

  /** As `release`, but `channel` is still told when the link closes. */
  stepBack(channel: LinkChannel, number: number | undefined): void {
    this.release(channel, number)
    this.channels.watch(channel)
  }

  release(channel: LinkChannel, number: number | undefined): void {
    this.outlet.remove(channel)
    this.channels.remove(channel, number)
    // Later: the caller that releases its place is still running, and a close now would re-enter it.
    if (this.#idleTimer !== undefined && this.channels.size === 0) queueMicrotask(() => this.close())
  }

  /** `channel` may have frames to send. They leave before this turn of the event loop is over. */
  wake(channel: LinkChannel): void {
    this.outlet.wake(channel)
  }

  /** `channel` has something to acknowledge that may wait for company. */
  acknowledgeLater(channel: LinkChannel): void {
    this.outlet.acknowledgeLater(channel)
  }

  /** The peer has caused work beside its frames' own, in µs. */
  charge(cost: number): void {
    this.#inbox.charge(cost)
  }

  /** What was charged turned out to be in order. */
  credit(cost: number): void {
    this.#inbox.credit(cost)
  }

  /** The peer has sent what no honest one sends. @throws {TunnelError} RATE_LIMITED when there was too much of it */
  fault(): void {
    if (this.#work?.fault() === false) {
      throw new TunnelError('RATE_LIMITED', 'the peer sent too much that is not valid', {
        hop: 'link',
        retryAfterMs: 5_000,
      })
    }
  }

  /** Refuses a stream that a peer wants, before anything is bound to its number. */
  refuse(number: number, error: TunnelError): void {
    this.send(frames.encodeJson(FrameType.RESET, number, error.toWire()))
    this.charge(REFUSAL_COST)
  }

  /** A frame has been read; its turn may come later. */
  protected received(frame: Uint8Array): void {
    this.#inbox.message(frame)
  }

  #deliver(frame: Uint8Array): void {
    try {
      this.dispatch(frame)
      const cost = costOfFrame(frame)
      if (cost > 0) this.#inbox.charge(cost)
    } catch (error) {
      this.ending.fail(asTunnelError(error, 'link'))
    }
  }

  /** Its turn has come. @throws {TunnelError} what the link ends with */
  protected abstract dispatch(frame: Uint8Array): void

  /** Once: the link is over. */
  protected stop(_error: TunnelError): void {
    this.#clock.clearTimer(this.#idleTimer)
    this.#inbox.close()
    this.outlet.close()
    this.channels.close()
  }
}
