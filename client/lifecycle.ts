import { addressesOf, type ProxyAddress } from '../dial/addresses.ts'
import { Emitter } from '../dial/emitter.ts'
import { oneAtATime } from '../dial/token.ts'
import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import { checkOptions } from './asked.ts'
import { type ClientHooks, type HookName, Hooks } from './hooks.ts'
import { LinkNews } from './link-news.ts'
import { ClientMetrics } from './metrics/collector.ts'
import { makeParts, type Parts, startKept } from './parts.ts'
import type { Platform } from './platform.ts'
import type { RequestQueue } from './queue/request-queue.ts'
import { Session } from './session.ts'
import { disconnected, notConnected, type TunnelState, type TunnelStatus } from './status.ts'
import type { TunnelEvents, TunnelServiceOptions } from './tunnel-options.ts'
import { within } from './within.ts'

/**
 * A client's life: one link to the proxy, dialled, kept and given up, as a state machine. A subclass says what goes
 * over it, and ends streams of its own in `endStreams`.
 */
export abstract class Lifecycle extends Emitter<TunnelEvents> {
  readonly metrics: ClientMetrics
  readonly #hooks: Hooks
  protected readonly options: TunnelServiceOptions
  protected readonly platform: Platform
  protected readonly addresses: ProxyAddress[]
  #status: TunnelStatus = { state: 'disconnected' }
  #parts: Promise<Parts> | undefined
  #made: Parts | undefined
  #session: Session | undefined
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  readonly #links: LinkNews
  /** `disconnect()` waits no longer. */
  #isCut = false
  /** What everything was given up with, each time that it was. */
  readonly #endedWith = new WeakSet<TunnelError>()

  /** @throws {TunnelError} CONFIG_INVALID for an address that is none */
  constructor(
    options: TunnelServiceOptions,
    platform: Platform,
    newMetrics = (clock: Clock) => new ClientMetrics(clock),
  ) {
    super()
    this.addresses = addressesOf(options?.url)
    checkOptions(options)
    this.platform = { ...platform, ...options.platform }
    this.options = { ...options, token: oneAtATime(options.token, this.platform.clock) }
    this.metrics = newMetrics(this.platform.clock)
    this.#hooks = new Hooks(this.platform.clock, (error) => this.emit('error', error))
    this.#links = new LinkNews(this.platform.clock, this.metrics, (name, ...args) => this.emit(name, ...args))
  }

  get state(): TunnelState {
    return this.#status.state
  }
  get status(): TunnelStatus {
    return this.#status
  }
  /** The present link, while there is one. */
  get link(): Link | undefined {
    return this.#session?.connection.link
  }

  /**
   * Dials; resolves when the client is usable. Calling it again while it dials waits for the same dial. After the
   * connection was given up it starts afresh.
   * @throws {TunnelError} by category: authentication and configuration want a person, network and server another try
   */
  connect(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(disconnected())
    // With `retryFirst` it may be dialling again and never have been connected.
    if (this.#connecting !== undefined) return this.#connecting
    if (this.state === 'connected' || this.state === 'reconnecting') return Promise.resolve()
    this.#connecting = this.#connect().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  /**
   * Adds a hook; hooks of one name run in the order of their adding, each for 5 s at most. Returns what takes it out again.
   * One that fails is told by `error`, but for `onRequest`, which ends its request.
   * @throws {TunnelError} CONFIG_INVALID
   */
  addHook<Name extends HookName>(name: Name, hook: ClientHooks[Name]): () => void {
    return this.#hooks.add(name, hook)
  }

  /** A listener that throws stops no other, and nothing that this client does. */
  protected override listenerFailed(name: keyof TunnelEvents, thrown: unknown): void {
    const isHeard = name !== 'error' && this.has('error')
    if (!isHeard) return super.listenerFailed(name, thrown)
    const text = `a listener of the event ${name} threw: ${thrown instanceof Error ? thrown.message : thrown}`
    this.emit('error', new TunnelError('INTERNAL', text, { cause: thrown, hop: 'client', suggestion: '' }))
  }

  /** Somebody waits: where the next dial is being waited for, it is made now. */
  retryNow(): void {
    this.#session?.connection.hurry()
  }

  /**
   * Lets what waits and what is under way finish, for a while, and closes; streams of `open` that were not ended are
   * destroyed, and so is what is joined. What was not sent in time goes to `queue.dir`, where there is one, for the next
   * start, and rejects with STILL_QUEUED. Nothing can be sent from its call on.
   * @param graceMs default settings.shutdown.clientMs; 0 cuts at once
   */
  disconnect(graceMs?: number): Promise<void> {
    this.#closing ??= this.#disconnect(graceMs)
    return this.#closing
  }

  /** `await using tunnel = …`: the same as `disconnect()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.disconnect()
  }

  /** Settings and queue, once. A failure is not kept: a profile may be put right. @throws {TunnelError} CONFIG_INVALID */
  protected prepare(): Promise<Parts> {
    this.#parts ??= makeParts(this.options, this.platform, {
      metrics: this.metrics,
      hooks: this.#hooks,
      opener: () => this.opener(),
      final: (error) => this.#isOver || this.#isCut || this.#endedWith.has(error),
      emit: (name, ...args) => this.emit(name, ...args),
    }).catch((error: unknown) => {
      this.#parts = undefined
      throw error
    })
    return this.#parts
  }

  /** @throws {TunnelError} when nothing can be sent */
  protected usable(): Parts | Promise<Parts> {
    if (this.#closing !== undefined) throw disconnected()
    if (this.#isOver) throw notConnected(this.#status)
    return this.#made ?? this.prepare()
  }

  protected opener(): StreamOpener {
    if (this.#session !== undefined) return this.#session.opener
    throw notConnected(this.#status)
  }

  /**
   * The client disconnects: streams whose owner still writes end first, and when its grace is over the others too.
   * @param all the grace is over
   */
  protected endStreams(_all: boolean, _error: TunnelError): void {}

  async #connect(): Promise<void> {
    this.#to({ state: 'connecting' })
    let session: Session | undefined
    try {
      const parts = await this.prepare()
      this.#made = parts
      parts.queue.open()
      await startKept(parts, (error) => this.emit('error', error))
      if (this.#closing !== undefined) throw disconnected()
      session = this.#session = this.#newSession(parts)
      await session.connection.connect(this.options.retryFirst)
    } catch (error) {
      const failed = asTunnelError(error, 'client')
      this.metrics.errored(failed)
      this.#to({ state: 'closed', reason: failed, final: false })
      if (session !== undefined || this.#closing === undefined) await this.#end(session, failed)
      throw failed
    }
  }

  get #isOver(): boolean {
    return this.state === 'disconnected' || this.state === 'closed'
  }

  #newSession({ settings, queue }: Parts): Session {
    const urls = this.addresses.map(({ link }) => link)
    const { platform, metrics: watch } = this
    const { token } = this.options
    const session = new Session({ urls, token, settings, platform, waiting: () => queue.size, watch })
    const { connection } = session
    connection.on('link', (link) => this.#linked(session, link, queue))
    connection.on('lost', (error) => {
      queue.setCapacity(0) // What waits is data, and not a stream.
      this.#links.lost(error)
    })
    connection.on('redial', ({ attempt, delayMs, error }) => {
      this.#to({ state: 'reconnecting', attempt, nextDialMs: Date.now() + delayMs, error })
      this.emit('reconnecting', { attempt, delayMs, error })
    })
    connection.on('tokenFailed', (error) => this.emit('error', error))
    connection.on('failed', (error) => void this.#gaveUp(session, error))
    return session
  }

  #linked({ opener }: Session, link: Link, queue: RequestQueue): void {
    this.metrics.connected()
    this.#to({ state: 'connected', sinceMs: Date.now() })
    queue.setCapacity(link.peer?.limits.maxStreams ?? 1)
    this.#links.made(link, opener.size)
  }

  async #gaveUp(session: Session, error: TunnelError): Promise<void> {
    if (session !== this.#session) return
    this.#to({ state: 'closed', reason: error, final: false })
    await this.#end(session, error)
    this.emit('error', error)
  }

  /** Ends all that waits or runs with `error`. */
  async #end(session: Session | undefined, error: TunnelError): Promise<void> {
    this.#links.ended()
    this.#endedWith.add(error)
    this.#made?.queue.setCapacity(0)
    this.#made?.queue.close(error)
    if (this.#session === session) this.#session = undefined
    await session?.end(error)
  }

  async #disconnect(graceMs: number | undefined): Promise<void> {
    const session = this.#session
    // Without its parts there is nothing that could be ended; `connect` has thrown why.
    const parts = await this.#parts?.catch(() => undefined)
    if (session !== undefined && parts !== undefined) {
      this.endStreams(false, disconnected())
      await within(parts.queue.idle(), graceMs ?? parts.settings.shutdown.clientMs, undefined)
      this.endStreams(true, disconnected())
    }
    const cut = new TunnelError('ABORTED', 'this client disconnects', { hop: 'client' })
    this.#isCut = true
    parts?.forwarding.keepRest(cut)
    parts?.queue.close(cut)
    if (session !== undefined) await this.#end(session, cut)
    await parts?.forwarding.close()
    this.#to({ state: 'closed', reason: disconnected(), final: true })
  }

  #to(status: TunnelStatus): void {
    const before = this.#status
    if (before.state === 'closed' && before.final) return
    this.#status = status
    if (status.state === before.state) return
    this.emit('state', status.state, status)
    this.#hooks.onStateChange(status, before)
  }
}
