import { addressesOf, type ProxyAddress } from '../dial/addresses.ts'
import type { ConnectionState, Redial } from '../dial/connection.ts'
import { Emitter } from '../dial/emitter.ts'
import type { TokenProvider } from '../dial/token.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Link } from '../protocol/link/link.ts'
import type { StreamDuplex } from '../protocol/node/duplex.ts'
import type { Joined } from '../protocol/node/join.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import { type ExecOptions, type ExecResult, exec } from './exec.ts'
import { type FetchInit, tunnelFetch } from './fetch.ts'
import { type ForwardRequest, type ForwardResponse, forwardRequest } from './http.ts'
import { type JoinEvents, joinStream } from './joined-stream.ts'
import { listMachines, type Machine } from './machines.ts'
import { MetricsCollector } from './metrics.ts'
import { platform as nodePlatform } from './node.ts'
import type { ClientOverrides, ClientSettings } from './options.ts'
import type { Platform } from './platform.ts'
import { type DuplexPath, openRawStream, type RawStream, type StreamOptions } from './raw-stream.ts'
import type { RequestPath } from './request.ts'
import { type QueueState, RequestQueue } from './request-queue.ts'
import { Session } from './session.ts'
import { SftpSession } from './sftp/session.ts'
import { openShell, type Shell, type ShellOptions } from './shell.ts'

export interface TunnelServiceOptions {
  /** The proxy's base, http(s) or ws(s); of several the next is tried when one fails. */
  url: string | readonly string[]
  token: TokenProvider
  /** @default 'default' */
  profile?: string
  /** What differs from the profile. Wrong ones make `connect()` reject with CONFIG_INVALID. */
  settings?: ClientOverrides
  /** In place of profile and settings; not checked, and quicker to start with. */
  resolvedSettings?: ClientSettings
  /** `connect()` goes on dialling, by the backoff, where dialling again may help. @default false */
  retryFirst?: boolean
  /** In place of Node's, in whole or in part. */
  platform?: Partial<Platform>
}

export interface Reconnected {
  /** Since the link was lost, in ms. */
  afterMs: number
  /** Those that were waiting for the link. */
  streams: number
}

export interface TunnelEvents {
  state: [ConnectionState]
  /** The link is gone; streams wait for another. */
  'link-lost': [TunnelError]
  /** A dial is about to be made. */
  reconnecting: [Redial]
  /** There is a link again; each stream tells by its own event `resumed` when it goes on. */
  reconnected: [Reconnected]
  /** The older name of `reconnected`. */
  resumed: [Reconnected]
  /** Requests pile up: slow down until 'drain'. */
  backpressure: [QueueState]
  drain: [QueueState]
  /** The connection was given up, or the token could not be renewed. */
  error: [TunnelError]
}

interface Parts {
  settings: ClientSettings
  queue: RequestQueue
  path: RequestPath
}

/** A client's way to its machines: one link to the proxy, and the streams on it, which outlive the link. */
export class TunnelService extends Emitter<TunnelEvents> {
  readonly metrics: MetricsCollector
  readonly #options: TunnelServiceOptions
  readonly #platform: Platform
  readonly #addresses: ProxyAddress[]
  #state: ConnectionState = 'disconnected'
  #parts: Promise<Parts> | undefined
  #session: Session | undefined
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined
  /** Streams of `open` that are not over. */
  readonly #duplexes = new Set<StreamDuplex>()
  /** Sockets of `join` that are not closed. */
  readonly #joined = new Set<Joined>()
  #lostAtMs: number | undefined
  /** Why the last session was given up. */
  #lastError: TunnelError | undefined

  /** @throws {TunnelError} CONFIG_INVALID for an address that is none */
  constructor(options: TunnelServiceOptions) {
    super()
    this.#options = options
    this.#platform = { ...nodePlatform, ...options.platform }
    this.#addresses = addressesOf(options.url)
    this.metrics = new MetricsCollector(this.#platform.clock, () => this.link?.rttMs)
  }

  get state(): ConnectionState {
    return this.#state
  }
  /** The present link, while there is one. */
  get link(): Link | undefined {
    return this.#session?.connection.link
  }

  /**
   * Dials. Calling it again while it dials waits for the same dial.
   * @throws {TunnelError} by category: authentication and configuration want a person, network and server another try
   */
  connect(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(closed())
    // With `retryFirst` it may be dialling again, and never have been connected.
    if (this.#connecting !== undefined) return this.#connecting
    if (this.#state === 'connected' || this.#state === 'reconnecting') return Promise.resolve()
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

  /** Runs a command: a shell's line, or words that the shell leaves as they are. @throws {TunnelError} */
  async exec(
    machine: string,
    command: string | readonly string[],
    options?: ExecOptions,
  ): Promise<ExecResult> {
    const { path, settings } = await this.#usable()
    return exec(path, settings.request.timeoutMs, machine, command, options)
  }

  /** A byte stream; resolves when the far side has accepted. @throws {TunnelError} */
  async open(request: RawStream): Promise<StreamDuplex> {
    return this.#keep(await openRawStream(await this.#way(), request))
  }

  /** The user's login shell; resolves when it runs. @throws {TunnelError} */
  async shell(machine: string, options?: ShellOptions): Promise<Shell> {
    const shell = await openShell(await this.#way(), machine, options)
    this.#keep(shell.stream)
    return shell
  }

  /** An SFTP session with the machine; it has to be closed. @throws {TunnelError} */
  async sftp(machine: string, options?: StreamOptions): Promise<SftpSession> {
    return SftpSession.begin(await this.open({ ...options, machine, kind: 'sftp' }), machine)
  }

  /**
   * A byte stream, joined with a socket or any other duplex: half closes pass, and each side is read at the pace of the
   * other. Resolves when the far side has accepted; `socket` is not read from before that, and is the caller's again
   * when it rejects. @throws {TunnelError}
   */
  async join(request: RawStream, socket: Joined, events: JoinEvents = {}): Promise<void> {
    await joinStream(await this.#way(), request, socket, events)
    if (socket.destroyed) return
    this.#joined.add(socket)
    socket.once('close', () => this.#joined.delete(socket))
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

  async #connect(): Promise<void> {
    this.#to('connecting')
    let session: Session | undefined
    try {
      const parts = await this.#prepare()
      if (this.#closing !== undefined) throw closed()
      session = this.#session = this.#newSession(parts)
      await session.connection.connect(this.#options.retryFirst)
    } catch (error) {
      const failed = error as TunnelError
      this.metrics.errored(failed)
      if (session !== undefined) await this.#end(session, failed)
      this.#to('disconnected')
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
    queue.on('backpressure', (state) => this.emit('backpressure', state))
    queue.on('drain', (state) => this.emit('drain', state))
    const path: RequestPath = {
      clock: this.#platform.clock,
      queue,
      metrics: this.metrics,
      open: (head, first, ends) => this.#opener().open(head, first, ends),
      final: () => this.#state === 'disconnected' || this.#state === 'closed',
    }
    return { settings, queue, path }
  }

  async #way(): Promise<DuplexPath> {
    const { path, settings } = await this.#usable()
    return { path, opener: () => this.#opener(), defaultTimeoutMs: settings.request.timeoutMs }
  }

  #keep(duplex: StreamDuplex): StreamDuplex {
    this.#duplexes.add(duplex)
    duplex.once('close', () => this.#duplexes.delete(duplex))
    return duplex
  }

  async #usable(): Promise<Parts> {
    if (this.#closing !== undefined) throw closed()
    if (this.#state === 'disconnected') throw this.#notConnected()
    return this.#prepare()
  }

  #opener(): StreamOpener {
    if (this.#session === undefined) throw this.#notConnected()
    return this.#session.opener
  }

  #notConnected(): TunnelError {
    const options = { cause: this.#lastError, hop: 'client' } as const
    return new TunnelError('LINK_LOST', 'the client is not connected: call connect() first', options)
  }

  #newSession({ settings, queue }: Parts): Session {
    const urls = this.#addresses.map(({ link }) => link)
    const session = new Session({ urls, token: this.#options.token, settings, platform: this.#platform })
    const { connection } = session
    connection.on('link', (link) => this.#linked(session, link, queue))
    connection.on('lost', (error) => this.#lost(error))
    connection.on('redial', (redial) => this.emit('reconnecting', redial))
    connection.on('tokenFailed', (error) => this.emit('error', error))
    connection.on('state', (state) => {
      // Its ends are told after the streams have been.
      if (state !== 'disconnected' && state !== 'closed') this.#to(state)
    })
    connection.on('failed', (error) => void this.#gaveUp(session, error))
    return session
  }

  #linked({ opener }: Session, link: Link, queue: RequestQueue): void {
    this.metrics.connected()
    queue.setCapacity(link.peer?.limits.maxStreams ?? 1)
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
    this.#to('disconnected')
    await this.#end(session, error)
    this.emit('error', error)
  }

  /** Ends all that waits or runs with `error`. */
  async #end(session: Session, error: TunnelError): Promise<void> {
    this.#lastError = error
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
      // One that its owner has not ended has no end to wait for. No error: its owner asked for this.
      for (const duplex of this.#duplexes) if (!duplex.writableEnded) duplex.destroy()
      for (const socket of this.#joined) socket.destroy(closed())
      await within(queue.idle(), graceMs ?? settings.shutdown.clientMs)
      for (const duplex of this.#duplexes) duplex.destroy()
      await this.#end(session, new TunnelError('ABORTED', 'this client disconnects', { hop: 'client' }))
    }
    this.#to('closed')
  }

  #to(state: ConnectionState): void {
    if (this.#state === state || this.#state === 'closed') return
    this.#state = state
    this.emit('state', state)
  }
}

function closed(): TunnelError {
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
