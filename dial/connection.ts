import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, errorFromWire, TunnelError } from '../protocol/codec/errors.ts'
import type { Goaway } from '../protocol/link/handlers.ts'
import type { Link } from '../protocol/link/link.ts'
import { TokenBucket } from '../protocol/token-bucket.ts'
import { backoffMs } from './backoff.ts'
import { type DialledLink, Dialler, type DiallerOptions, isFinal } from './dialler.ts'
import { Emitter } from './emitter.ts'
import { keepProcessAlive } from './keep-process-alive.ts'
import type { BackoffOptions } from './options.ts'
import { Pause } from './pause.ts'
import { TokenRefresh } from './token-refresh.ts'

/**
 * - `disconnected`: not dialled yet, or given up: `connect()` may be called.
 * - `connecting`: the first dial.
 * - `reconnecting`: the link is lost, or the first dial is repeated; streams wait.
 * - `closed`: for good.
 */
export type ConnectionState = 'disconnected' | 'connecting' | 'connected' | 'reconnecting' | 'closed'

export interface Redial {
  /** Dials since the link was lost, from 1. */
  attempt: number
  /** Before this dial, in ms. */
  delayMs: number
  /** Why the link, or the dial before, was lost. */
  error: TunnelError
}

interface ConnectionEvents {
  state: [ConnectionState]
  /** There is a link: the first, one after a loss, or one that takes over from one that lives. */
  link: [Link]
  lost: [TunnelError]
  /** The token could not be renewed; it is tried again. */
  tokenFailed: [TunnelError]
  redial: [Redial]
  /** No further dial follows. */
  failed: [TunnelError]
}

/** The longest that a proxy may ask a peer to wait, in ms. */
const MAX_ASKED_MS = 300_000

export interface ConnectionOptions extends DiallerOptions {
  backoff: BackoffOptions
  /** A link that lived this long was a good one, whatever ended it, in ms. */
  provenMs: number
  /** In [0, 1). */
  random: () => number
}

/** What an address change, or a proxy that leaves, is given to show that the link lives, in ms. */
const PROBE_MS = { least: 1_000, most: 5_000, unknown: 3_000, roundTrips: 4 }
const LEAVE_MS = 10_000
/** The first dial is made so often when its connection is cut, with a growing pause between, in ms. */
const FIRST_DIAL_TRIES = 5
const FIRST_DIAL_PAUSE_MS = 50
/** Dials that need no pause before them, though links live for moments only; and the pause of the others, in ms. */
const FREE_DIALS_PER_SECOND = 4
const FREE_DIALS = 20
const FLAP_PAUSE_MS = 500
/** Between two tries to find another proxy while the old one still carries us, in ms; doubles up to the second. */
const MOVE_RETRY_MS = 200
const MOVE_RETRY_MAX_MS = 2_000

/** One party's way to the proxy: a link at a time, dialled again when it is lost, replaced when the proxy leaves. */
export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions
  readonly #clock: Clock
  readonly #dialler: Dialler
  readonly #refresh: TokenRefresh
  readonly #abort = new AbortController()
  /** What ends each dial that is under way. */
  readonly #dials = new Set<AbortController>()
  #state: ConnectionState = 'disconnected'
  #link: Link | undefined
  #linkSinceMs = 0
  /** Dials in a row that brought no good link. */
  #failures = 0
  #pause: Pause | undefined
  /** The link that we are leaving. */
  #moving: Link | undefined
  /** Links that die young are followed at once, but not without end. */
  readonly #freeDials: TokenBucket
  /** The last link was ended for its token. */
  #authRejected = false
  /** How long an older link may be kept for what cannot move, in ms: the leaving proxy's word. */
  #leaveMs = LEAVE_MS
  #gaveUpWith: TunnelError | undefined

  constructor(options: ConnectionOptions) {
    super()
    this.#options = options
    this.#clock = options.clock
    this.#dialler = new Dialler(options)
    this.#freeDials = new TokenBucket(options.clock, FREE_DIALS_PER_SECOND, FREE_DIALS)
    this.#refresh = new TokenRefresh(options.token, options.clock, (error) => this.emit('tokenFailed', error))
  }

  get state(): ConnectionState {
    return this.#state
  }
  get link(): Link | undefined {
    return this.#link
  }

  /**
   * The first link.
   * @param patient go on dialling, as after a loss, where dialling again may help
   * @throws {TunnelError}
   */
  async connect(patient = false): Promise<void> {
    this.#to('connecting')
    try {
      this.#adopt(await keepProcessAlive(() => this.#firstDial()))
    } catch (error) {
      const failed = asTunnelError(error)
      if (this.#abort.signal.aborted) throw failed
      if (!patient || isFinal(failed)) {
        this.#to('disconnected')
        throw failed
      }
      this.#failures = 1
      await this.#redial(failed)
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason
      if (this.#link === undefined) throw this.#gaveUpWith ?? failed
    }
  }

  /** A proxy that answered and whose link was then cut is dialled again: that says nothing about the next try. */
  async #firstDial(): Promise<DialledLink> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#dial()
      } catch (error) {
        const cut = error instanceof TunnelError && error.code === 'LINK_LOST'
        if (!cut || tries >= FIRST_DIAL_TRIES || this.#abort.signal.aborted) throw error
        await new Pause(this.#clock, FIRST_DIAL_PAUSE_MS * tries).over
      }
    }
  }

  /** The network may have changed: makes sure of the link now, or dials now. */
  check(): void {
    const { least, most, unknown, roundTrips } = PROBE_MS
    const rttMs = this.#link?.rttMs
    this.#link?.probe(rttMs === undefined ? unknown : Math.min(most, Math.max(least, roundTrips * rttMs)))
    this.#pause?.end()
    // Answers to the former address come to nobody: these begin anew.
    for (const dial of this.#dials) dial.abort()
  }

  /** Ends the link, normally, and every dial. Resolves when all that was sent has left. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#abort.abort(new TunnelError('ABORTED', 'the connection was closed', { hop: 'client' }))
    for (const dial of this.#dials) dial.abort()
    this.#pause?.end()
    this.#refresh.stop()
    const link = this.#link
    this.#link = undefined
    link?.close()
    this.#to('closed')
    await link?.gone
  }

  /** `isWanted`: asked when it was broken off, whether it begins anew. */
  async #dial(isWanted = () => true): Promise<DialledLink> {
    const handlers = {
      goaway: (link: Link, goaway: Goaway) => void this.#move(link, goaway),
      closed: (link: Link, error: TunnelError) => this.#closed(link, error),
    }
    for (;;) {
      const dial = new AbortController()
      if (this.#abort.signal.aborted) dial.abort()
      this.#dials.add(dial)
      try {
        return await this.#dialler.dial(handlers, dial.signal)
      } catch (error) {
        if (!dial.signal.aborted || this.#abort.signal.aborted || !isWanted()) throw error
      } finally {
        this.#dials.delete(dial)
      }
    }
  }

  #adopt({ link, token }: DialledLink): void {
    if (this.#abort.signal.aborted) return link.close()
    const older = this.#link
    this.#link = link
    this.#linkSinceMs = this.#clock.now()
    this.#refresh.watch(link, token)
    // Measures the round trip, and shows that more than a HELLO gets through.
    link.probe(this.#options.hello.heartbeat.timeoutMs)
    this.#to('connected')
    this.emit('link', link)
    // Requests that end at the proxy which leaves may finish there.
    older?.closeWhenIdle(this.#leaveMs)
    // It may have ended before anybody knew that it was ours.
    if (link.closedWith !== undefined) this.#closed(link, link.closedWith)
  }

  #closed(link: Link, error: TunnelError): void {
    if (link !== this.#link) return
    this.#link = undefined
    this.#refresh.stop()
    // One that was to take over from it: there is nothing to take over any more.
    for (const dial of this.#dials) dial.abort()
    const lived = this.#clock.now() - this.#linkSinceMs >= this.#options.provenMs
    // A link that carried something and was then lost by the network is followed at once, however short it was.
    const proven = lived || (link.rttMs !== undefined && error.category === 'network')
    this.#failures = proven || error.code === 'SHUTTING_DOWN' ? 0 : this.#failures + 1
    this.emit('lost', error)
    if (lived) this.#authRejected = false
    // A token may be refused that was fresh a moment ago; another is asked for, once.
    const mayRenew = error.category === 'authentication' && !this.#authRejected
    if (isFinal(error) && !mayRenew) return this.#giveUp(error)
    this.#authRejected ||= mayRenew
    void this.#redial(error)
  }

  async #redial(cause: TunnelError): Promise<void> {
    this.#to('reconnecting')
    await keepProcessAlive(() => this.#dialOn(cause))
  }

  async #dialOn(cause: TunnelError): Promise<void> {
    const { backoff, random } = this.#options
    let error = cause
    for (let attempt = 1; !this.#abort.signal.aborted; attempt++) {
      if (this.#failures >= backoff.maxAttempts) return this.#giveUp(error)
      const askedMs = error.category === 'server' ? this.#askedMs(error) : 0
      let delayMs = Math.max(backoffMs(this.#failures, backoff, random), askedMs)
      if (delayMs === 0 && !this.#freeDials.take()) delayMs = FLAP_PAUSE_MS
      this.emit('redial', { attempt, delayMs, error })
      if (delayMs > 0) {
        this.#pause = new Pause(this.#clock, delayMs)
        await this.#pause.over
      }
      try {
        return this.#adopt(await this.#dial())
      } catch (failure) {
        error = asTunnelError(failure)
        this.#failures++
        if (isFinal(error)) return this.#giveUp(error)
      }
    }
  }

  #giveUp(error: TunnelError): void {
    if (this.#abort.signal.aborted) return
    this.#gaveUpWith = error
    this.#to('disconnected')
    this.emit('failed', error)
  }

  /** The proxy leaves: another link first, then this one ends. What fails here fails later as a lost link. */
  async #move(older: Link, goaway: Goaway): Promise<void> {
    if (older !== this.#link || older === this.#moving) return
    const error = errorFromWire(goaway)
    if (error.code === 'TAKEN_OVER') {
      this.#link = undefined
      older.close()
      this.emit('lost', error)
      return this.#giveUp(error)
    }
    this.#moving = older
    this.#leaveMs = goaway.deadlineMs
    this.#dialler.nextAddress()
    const isStill = () => this.#link === older
    for (let waitMs = MOVE_RETRY_MS; isStill(); waitMs = Math.min(MOVE_RETRY_MAX_MS, waitMs * 2)) {
      try {
        const dialled = await this.#dial(isStill)
        if (isStill()) this.#adopt(dialled)
        else dialled.link.close()
      } catch (failure) {
        const askedMs = this.#askedMs(asTunnelError(failure))
        await new Pause(this.#clock, Math.max(waitMs, askedMs)).over
      }
    }
    if (this.#moving === older) this.#moving = undefined
  }

  /** What the proxy asks to wait, spread as every wait: it may have told a thousand others the same. */
  #askedMs({ retryAfterMs = 0 }: TunnelError): number {
    const { backoff, random } = this.#options
    return Math.min(MAX_ASKED_MS, retryAfterMs) * (1 + backoff.jitter * random())
  }

  #to(state: ConnectionState): void {
    if (this.#state === state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state)
  }
}
