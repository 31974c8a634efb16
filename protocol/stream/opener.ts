import { ChurningMap } from '../churn.ts'
import { type Clock, systemClock } from '../clock.ts'
import { TunnelError } from '../codec/errors.ts'
import { MAX_DATA_BYTES } from '../codec/frames.ts'
import { isSealed, type RoutedHead } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import type { StreamsOptions } from '../options.ts'
import type { Budget } from './budget.ts'
import { ClosedStreams } from './closed-streams.ts'
import { FinalAck } from './final-ack.ts'
import { TunnelStream } from './stream.ts'

export interface OpenerOptions {
  settings: StreamsOptions
  clock?: Clock
  budget?: Budget
  /** A stream goes on over another link, or over the same one again. */
  onResumed?: (() => void) | undefined
}

/** Last words that wait for their answers at once: streams that are opened now need the places more. */
const WORDS_AT_ONCE = 16
/** Streams that are over and whose last word may have to be said again, at most. */
const MAX_OVER = 256
/** How long to wait before asking again for a path that was refused with SUSPEND, in ms: doubles up to the second. */
const SUSPENDED_RETRY_MS = 50
const SUSPENDED_RETRY_MAX_MS = 2_000

/** When one of a full link's streams may have ended, in ms. */
const RETRY_AFTER_MS = 200

/** The streams that this party has opened. Links come and go; the newest carries them all. */
export class StreamOpener {
  readonly #settings: StreamsOptions
  readonly #clock: Clock
  readonly #budget: Budget | undefined
  readonly #resumed: (() => void) | undefined
  readonly #streams = new ChurningMap<string, TunnelStream>()
  readonly #over: ClosedStreams
  readonly #retries = new Map<TunnelStream, { timer: unknown; delayMs: number }>()
  #link: Link | undefined
  #closed: TunnelError | undefined

  constructor({ settings, clock = systemClock, budget, onResumed }: OpenerOptions) {
    this.#resumed = onResumed
    this.#settings = settings
    this.#clock = clock
    this.#budget = budget
    this.#over = new ClosedStreams(clock, settings.resumeMs, MAX_OVER)
  }

  get size(): number {
    return this.#streams.size
  }
  get link(): Link | undefined {
    return this.#link
  }

  /**
   * Opens a stream. `first` rides on OPEN; `end` says that it is all this side will send. Without a link the OPEN
   * waits for one, for as long as the resume window.
   * @param first MAX_DATA_BYTES at most
   * @throws {TunnelError} TOO_MANY_STREAMS, FRAME_TOO_LARGE, or what the opener was closed with
   */
  open(head: Omit<RoutedHead, 'id' | 'window'>, first?: Uint8Array, end = false): TunnelStream {
    if (this.#closed !== undefined) throw this.#closed
    if (first !== undefined && first.length > MAX_DATA_BYTES)
      throw new TunnelError('FRAME_TOO_LARGE', `${first.length} first bytes are too many for an OPEN`, {
        hop: 'link',
      })
    const link = this.#usable()
    // Those that wait for a path on this link have their places on it too.
    if (link !== undefined && link.openableStreams <= this.#retries.size) {
      throw new TunnelError('TOO_MANY_STREAMS', 'the link carries as many streams as the peer allows', {
        hop: 'link',
        retryAfterMs: RETRY_AFTER_MS,
      })
    }
    const { windowBytes, maxWindowBytes, resumeMs } = this.#settings
    const stream: TunnelStream = new TunnelStream({
      side: 'opener',
      head: Object.assign({}, head, { id: newStreamId(), window: windowBytes }),
      limits: { windowBytes, maxWindowBytes, budget: this.#budget },
      resumeMs: link?.peer === undefined ? resumeMs : Math.min(resumeMs, link.peer.resumeMs),
      clock: this.#clock,
      first,
      firstEnds: end,
      owner: {
        onOver: (error) => this.#onOver(stream, error),
        hasLink: () => this.#usable() !== undefined,
        onSuspended: () => this.#onSuspended(stream),
        onResumed: () => {
          this.#forgetRetry(stream)
          this.#resumed?.()
        },
        onUnknown: (error) => this.#onUnknown(stream, error),
      },
    })
    this.#streams.set(stream.id, stream)
    if (link !== undefined) stream.openOn(link)
    return stream
  }

  /**
   * `link` carries everything from now on. What stood on an older one moves, and loses nothing; only an inspected
   * stream ends at one proxy and no other, and stays on a link to that one for as long as the link lives.
   */
  attach(link: Link): void {
    const older = this.#link
    this.#link = link
    for (const stream of [...this.#streams.values()]) {
      if (stream.link !== link && mayMove(stream, link)) this.#bring(stream, link)
    }
    if (older !== undefined) this.#sayAgain(link)
  }

  /** Ends every stream with `error`; nothing can be opened after. */
  close(error: TunnelError): void {
    this.#closed ??= error
    for (const stream of [...this.#streams.values()]) stream.reset(error)
    for (const { timer } of this.#retries.values()) this.#clock.clearTimer(timer)
    this.#retries.clear()
    this.#over.clear()
    this.#link = undefined
  }

  #usable(): Link | undefined {
    return this.#link === undefined || this.#link.closed ? undefined : this.#link
  }

  #bring(stream: TunnelStream, link: Link): void {
    this.#forgetRetry(stream)
    send(stream, link)
  }

  /** The last words of streams that ended on a link that may have lost them: a few at a time, for each takes a place. */
  #sayAgain(link: Link): void {
    // The iterator of an array: each loop goes on where the last one left.
    const words = [...this.#over.values()].values()
    const sayNext = (): void => {
      for (const over of words) {
        if (this.#link !== link || link.closed) return
        if (over.link?.deref() === link) continue
        over.link = new WeakRef(link)
        // What was said before may have arrived: only a later attempt counts.
        over.resume.attempt++
        new FinalAck(link, over.resume, over.error, sayNext)
        // The answer to this one frees its place for the next.
        if (over.error === undefined) return
      }
    }
    for (let saying = 0; saying < WORDS_AT_ONCE; saying++) sayNext()
  }

  #onOver(stream: TunnelStream, cause: TunnelError | undefined): void {
    this.#forgetRetry(stream)
    this.#streams.delete(stream.id)
    if (this.#closed !== undefined || stream.openedAtMs === undefined) return
    const error = cause?.toWire()
    const resume = stream.resumeHead()
    resume.attempt++
    const usable = this.#usable()
    const told = error === undefined || usable === undefined || usable === stream.lastLink
    const link = told ? stream.lastLink : usable
    this.#over.add({ subject: undefined, error, resume, link: link && new WeakRef(link) })
    if (!told) new FinalAck(usable, resume, error)
  }

  /** The link lives but the path behind it does not (SUSPEND): ask again, soon and then less often. */
  #onSuspended(stream: TunnelStream): void {
    const link = this.#usable()
    if (link === undefined) return
    const delayMs = this.#retries.get(stream)?.delayMs ?? SUSPENDED_RETRY_MS
    this.#forgetRetry(stream)
    const timer = this.#clock.setTimer(() => {
      const usable = this.#usable()
      if (stream.link === undefined && usable !== undefined && stream.state !== 'closed') send(stream, usable)
    }, delayMs)
    this.#retries.set(stream, { timer, delayMs: Math.min(SUSPENDED_RETRY_MAX_MS, delayMs * 2) })
  }

  #forgetRetry(stream: TunnelStream): void {
    const retry = this.#retries.get(stream)
    if (retry === undefined) return
    this.#clock.clearTimer(retry.timer)
    this.#retries.delete(stream)
  }

  /** An OPEN younger than the acceptor's memory was never executed: it goes again. */
  #onUnknown(stream: TunnelStream, error: TunnelError): boolean {
    const link = stream.link
    const { openedAtMs, openedAt } = stream
    if (stream.answered || link === undefined || openedAtMs === undefined) return false
    // An inspected stream ends at the proxy that had its OPEN, and another can say nothing of it.
    const asked = link.peer?.instance
    if (!isSealed(stream.head.kind) && (asked === undefined || asked !== openedAt)) return false
    if (error.rememberedMs === undefined || error.rememberedMs <= this.#clock.now() - openedAtMs) return false
    stream.openOn(link)
    return true
  }
}

/** Asks for the stream on `link`: with OPEN if it was never sent, with RESUME otherwise. */
function send(stream: TunnelStream, link: Link): void {
  if (stream.openedAtMs === undefined) stream.openOn(link)
  else stream.resumeOn(link)
}

/** Sealed streams go on through any proxy; others only where they are, unless that is gone. */
function mayMove(stream: TunnelStream, to: Link): boolean {
  const from = stream.link
  const unsent = stream.openedAtMs === undefined
  if (isSealed(stream.head.kind) || unsent || from === undefined || from.closed) return true
  return from.peer?.instance === to.peer?.instance
}

const ID_BYTES = 16
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))
/** Random bytes are drawn for many ids at once: a call to the system's generator costs more than all the rest. */
const random = new Uint8Array(256 * ID_BYTES)
let randomUsed = random.length

/** 128 random bits as 32 hex digits. */
function newStreamId(): string {
  if (randomUsed === random.length) {
    crypto.getRandomValues(random)
    randomUsed = 0
  }
  let id = ''
  for (const end = randomUsed + ID_BYTES; randomUsed < end; randomUsed++) id += HEX[random[randomUsed]!]
  return id
}
