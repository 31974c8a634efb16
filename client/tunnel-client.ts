import { addressesOf, type ProxyAddress } from '../dial/addresses.ts'
import { Emitter } from '../dial/emitter.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import { type FetchInit, tunnelFetch } from './fetch.ts'
import { type ForwardRequest, type ForwardResponse, forwardRequest } from './http.ts'
import { listMachines, type Machine } from './machines.ts'
import { MetricsCollector } from './metrics/collector.ts'
import type { DuplexPath } from './opening.ts'
import type { ClientSettings } from './options.ts'
import type { Platform } from './platform.ts'
import type { RequestPath } from './request.ts'
import { RequestQueue } from './request-queue.ts'
import { Session } from './session.ts'
import type { TunnelState, TunnelStatus } from './status.ts'
import type { Reconnected, TunnelEvents, TunnelServiceOptions } from './tunnel-options.ts'

interface Parts {
  settings: ClientSettings
  queue: RequestQueue
  path: RequestPath
}

/**
 * The part of a client that runs on every platform: one link to the proxy, kept, and the requests that go over it.
 * Whoever adds streams of its own ends them in `endStreams`.
 */
export class TunnelClient extends Emitter<TunnelEvents> {
  readonly metrics: MetricsCollector
  readonly #options: TunnelServiceOptions
  readonly #platform: Platform
  readonly #addresses: ProxyAddress[]
  #status: TunnelStatus = { state: 'disconnected' }
  #parts: Promise<Parts> | undefined
  #session: Session | undefined
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #lostAtMs: number | undefined

  /** @throws {TunnelError} CONFIG_INVALID for an address that is none */
  constructor(options: TunnelServiceOptions, platform: Platform) {
    super()
    this.#options = options
    this.#platform = { ...platform, ...options.platform }
    this.#addresses = addressesOf(options.url)
    this.metrics = new MetricsCollector(this.#platform.clock)
  }

  get state(): TunnelState {
    return this.#status.state
  }
  /** The state with what is known in it. */
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
    // With `retryFirst` it may be dialling again, and never have been connected.
    if (this.#connecting !== undefined) return this.#connecting
    if (this.state === 'connected' || this.state === 'reconnecting') return Promise.resolve()
    this.#connecting = this.#connect().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  /** Somebody waits: where the next dial is being waited for, it is made now. */
  retryNow(): void {
    this.#session?.connection.hurry()
  }

  /** One HTTP request and its whole answer. @throws {TunnelError} */
  async forwardRequest(request: ForwardRequest): Promise<ForwardResponse> {
    const { path, settings } = await this.#usable()
    return forwardRequest(path, settings.request.timeoutMs, request)
  }

  /** As the global `fetch`, for `http://MACHINE:PORT/path`; bodies stream both ways, at the reader's pace. */
  readonly fetch = async (input: string | URL | Request, init?: FetchInit): Promise<Response> => {
    const { path, settings } = await this.#usable()
    return tunnelFetch(path, settings.request.timeoutMs, input, init)
  }

  /** The caller's machines. Needs no link. @throws {TunnelError} */
  async machines(): Promise<Machine[]> {
    const { settings } = await this.#prepare()
    return listMachines(this.#addresses, this.#options.token, settings.request.timeoutMs)
  }

  /**
   * Lets requests, commands and ended streams that are under way finish, for a while, and closes; streams of `open`
   * whose writable side was not ended are destroyed, and so is what is joined. Nothing can be sent from its call on.
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

  /** @throws {TunnelError} when nothing can be opened */
  protected async way(): Promise<DuplexPath> {
    const { path, settings } = await this.#usable()
    return { path, opener: () => this.#opener(), defaultTimeoutMs: settings.request.timeoutMs }
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
      const parts = await this.#prepare()
      if (this.#closing !== undefined) throw disconnected()
      session = this.#session = this.#newSession(parts)
      await session.connection.connect(this.#options.retryFirst)
    } catch (error) {
      const failed = error as TunnelError
      this.metrics.errored(failed)
      if (session !== undefined) await this.#end(session, failed)
      this.#to({ state: 'closed', reason: failed, final: false })
      throw failed
    }
  }

  /** Settings and queue, once. A failure is not kept: a profile may be put right. */
  #prepare(): Promise<Parts> {
    this.#parts ??= this.#makeParts().catch((error: unknown) => {
      this.#parts = undefined
      throw error
    })
    return this.#parts
  }

  async #makeParts(): Promise<Parts> {
    const { resolvedSettings, profile, settings: overrides } = this.#options
    const settings = resolvedSettings ?? (await this.#platform.loadSettings(profile, overrides))
    const queue = new RequestQueue(settings.queue)
    this.metrics.watchQueue(() => queue.waiting)
    queue.on('backpressure', (state) => this.emit('backpressure', state))
    queue.on('drain', (state) => this.emit('drain', state))
    const path: RequestPath = {
      clock: this.#platform.clock,
      queue,
      metrics: this.metrics,
      open: (head, first, ends) => this.#opener().open(head, first, ends),
      final: () => this.#isOver,
    }
    return { settings, queue, path }
  }

  /** No link is coming. */
  get #isOver(): boolean {
    return this.state === 'disconnected' || this.state === 'closed'
  }

  async #usable(): Promise<Parts> {
    if (this.#closing !== undefined) throw disconnected()
    if (this.#isOver) throw this.#notConnected()
    return this.#prepare()
  }

  #opener(): StreamOpener {
    if (this.#session === undefined) throw this.#notConnected()
    return this.#session.opener
  }

  #notConnected(): TunnelError {
    const cause = this.#status.state === 'closed' ? this.#status.reason : undefined
    const text = 'the client is not connected: call connect() first'
    return new TunnelError('LINK_LOST', text, { cause, hop: 'client' })
  }

  #newSession({ settings, queue }: Parts): Session {
    const urls = this.#addresses.map(({ link }) => link)
    const session = new Session({
      urls,
      token: this.#options.token,
      settings,
      platform: this.#platform,
      watch: this.metrics,
    })
    const { connection } = session
    connection.on('link', (link) => this.#linked(session, link, queue))
    connection.on('lost', (error) => this.#lost(error))
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
    queue.setCapacity(link.peer?.limits.maxStreams ?? 1)
    this.#to({ state: 'connected', sinceMs: Date.now() })
    if (this.#lostAtMs === undefined) return
    const afterMs = this.#platform.clock.now() - this.#lostAtMs
    this.#lostAtMs = undefined
    const reconnected: Reconnected = { afterMs, streams: opener.size }
    this.emit('reconnected', reconnected)
    this.emit('resumed', reconnected)
  }

  #lost(error: TunnelError): void {
    this.#lostAtMs ??= this.#platform.clock.now()
    this.metrics.lost()
    this.metrics.errored(error)
    this.emit('link-lost', error)
  }

  async #gaveUp(session: Session, error: TunnelError): Promise<void> {
    if (session !== this.#session) return
    this.#to({ state: 'closed', reason: error, final: false })
    await this.#end(session, error)
    this.emit('error', error)
  }

  /** Ends all that waits or runs with `error`. */
  async #end(session: Session, error: TunnelError): Promise<void> {
    this.#lostAtMs = undefined
    this.metrics.disconnected()
    const { queue } = await this.#prepare()
    queue.setCapacity(0)
    queue.clear(error)
    if (this.#session === session) this.#session = undefined
    await session.end(error)
  }

  async #disconnect(graceMs: number | undefined): Promise<void> {
    const session = this.#session
    if (session !== undefined) {
      const { settings, queue } = await this.#prepare()
      this.endStreams(false, disconnected())
      await within(queue.idle(), graceMs ?? settings.shutdown.clientMs)
      this.endStreams(true, disconnected())
      await this.#end(session, new TunnelError('ABORTED', 'this client disconnects', { hop: 'client' }))
    }
    this.#to({ state: 'closed', reason: disconnected(), final: true })
  }

  #to(status: TunnelStatus): void {
    const before = this.#status
    if (before.state === 'closed' && before.final) return
    this.#status = status
    if (status.state !== before.state) this.emit('state', status.state, status)
  }
}

function disconnected(): TunnelError {
  return new TunnelError('ABORTED', 'this client was disconnected', { hop: 'client' })
}

/** Waits, but not longer than `ms`. Its timer keeps the process: what it waits for may have nothing else that does. */
async function within(waited: Promise<void>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([waited, late])
  clearTimeout(timer)
}
