import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, errorFromWire, TunnelError } from '../protocol/codec/errors.ts'
import type { Goaway } from '../protocol/link/handlers.ts'
import type { Link } from '../protocol/link/link.ts'
import type { ConnectionState, Redial } from './connection-state.ts'
import { type DialledLink, Dialler, type DiallerOptions, isFinal } from './dialler.ts'
import { Dialling } from './dialling.ts'
import { Emitter } from './emitter.ts'
import { keepProcessAlive } from './keep-process-alive.ts'
import type { BackoffOptions } from './options.ts'
import { probeMs } from './probe.ts'
import { oneAtATime } from './token.ts'
import { TokenRefresh } from './token-refresh.ts'
import { type Wait, Waits } from './waits.ts'

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

export interface ConnectionOptions extends DiallerOptions {
  backoff: BackoffOptions
  /** A link that lived this long was a good one, whatever ended it, in ms. */
  provenMs: number
  /** In [0, 1). */
  random: () => number
  /** How many streams need the link. @default none, ever */
  streams?: () => number
}

/** For what cannot move from a link that is left, in ms, where the proxy has not said. */
const LEAVE_MS = 10_000

/** One party's way to the proxy: a link at a time, dialled again when it is lost, replaced when the proxy leaves. */
export class Connection extends Emitter<ConnectionEvents> {
  readonly #options: ConnectionOptions
  readonly #clock: Clock
  readonly #dialler: Dialler
  readonly #dialling: Dialling
  readonly #refresh: TokenRefresh
  readonly #abort = new AbortController()
  #state: ConnectionState = 'disconnected'
  #link: Link | undefined
  #linkSinceMs = 0
  /** Until when streams that lost their link are kept, by the clock. */
  #keptUntilMs = 0
  readonly #waits: Waits
  /** The link that we are leaving. */
  #moving: Link | undefined
  /** The last link was ended for its token. */
  #authRejected = false
  /** How long an older link may be kept for what cannot move, in ms: the leaving proxy's word. */
  #leaveMs = LEAVE_MS
  #gaveUpWith: TunnelError | undefined

  constructor(options: ConnectionOptions) {
    super()
    this.#options = options
    this.#clock = options.clock
    const token = oneAtATime(options.token, options.clock)
    this.#dialler = new Dialler({ ...options, token })
    this.#dialling = new Dialling({
      dialler: this.#dialler,
      handlers: {
        goaway: (link, goaway) => void this.#move(link, goaway),
        closed: (link, error) => this.#closed(link, error),
      },
      clock: options.clock,
      signal: this.#abort.signal,
    })
    this.#waits = new Waits(options.backoff, options.random, options.clock)
    this.#refresh = new TokenRefresh(token, options.clock, (error) => this.emit('tokenFailed', error))
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
      const wait: Wait = (attempt, error) => this.#waits.first(attempt, error)
      this.#adopt(await keepProcessAlive(() => this.#dialling.untilLinked(wait)))
    } catch (error) {
      const failed = asTunnelError(error, 'client')
      if (this.#abort.signal.aborted) throw failed
      if (!patient || isFinal(failed)) {
        this.#to('disconnected')
        throw failed
      }
      this.#waits.failures = 1
      await this.#redial(failed)
      if (this.#abort.signal.aborted) throw this.#abort.signal.reason
      if (this.#link === undefined) throw this.#gaveUpWith ?? failed
    }
  }

  /** The network may have changed: makes sure of the link now, or dials now. */
  check(): void {
    this.#link?.probe(probeMs(this.#link.rttMs))
    this.hurry()
    // Answers to the former address come to nobody: these are dialled again.
    this.#dialling.breakOff()
  }

  /** Ends every wait before a dial; a dial that is under way goes on. */
  hurry(): void {
    this.#dialling.hurry()
  }

  /** Ends the link, normally, and every dial. Resolves when all that was sent has left. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    this.#abort.abort(new TunnelError('ABORTED', 'the connection was closed', { hop: 'client' }))
    this.#refresh.stop()
    const link = this.#link
    this.#link = undefined
    link?.close()
    this.#to('closed')
    await link?.gone
  }

  #adopt({ link, token }: DialledLink): void {
    if (this.#abort.signal.aborted) return link.close()
    const older = this.#link
    this.#link = link
    this.#linkSinceMs = this.#clock.now()
    this.#keptUntilMs = 0
    this.#refresh.watch(link, token)
    // Measures the round trip, and shows that more than a HELLO gets through.
    link.probe(link.hello.heartbeat.timeoutMs)
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
    this.#dialling.breakOff()
    const nowMs = this.#clock.now()
    const { resumeMs } = link.hello
    this.#keptUntilMs = nowMs + Math.min(resumeMs, link.peer?.resumeMs ?? resumeMs)
    const lived = nowMs - this.#linkSinceMs >= this.#options.provenMs
    // A link that carried something and was then lost by the network is followed at once, however short it was.
    const proven = lived || (link.rttMs !== undefined && error.category === 'network')
    this.#waits.failures = proven || error.code === 'SHUTTING_DOWN' ? 0 : this.#waits.failures + 1
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
    const { streams = () => 0 } = this.#options
    const wait: Wait = (attempt, failure) => {
      if (failure !== undefined) {
        this.#waits.failed(attempt, failure)
        if (isFinal(failure)) throw failure
      }
      const error = failure ?? cause
      const windowMs = streams() > 0 ? this.#keptUntilMs - this.#clock.now() : 0
      const delayMs = this.#waits.afterLoss(error, windowMs)
      this.emit('redial', { attempt, delayMs, error })
      return delayMs
    }
    try {
      this.#adopt(await keepProcessAlive(() => this.#dialling.untilLinked(wait)))
    } catch (error) {
      this.#giveUp(asTunnelError(error, 'client'))
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
    const wait: Wait = (attempt, failure) => this.#waits.whileMoving(attempt, failure)
    try {
      const dialled = await this.#dialling.untilLinked(wait, isStill)
      if (isStill()) this.#adopt(dialled)
      else dialled.link.close()
    } catch {
      // The older link was lost meanwhile, which is told by itself, or this connection was closed.
    }
    if (this.#moving === older) this.#moving = undefined
  }

  #to(state: ConnectionState): void {
    if (this.#state === state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state)
  }
}
