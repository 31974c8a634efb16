import { once } from 'node:events'
import { lstatSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { ClientSettings } from '../../client/index.ts'
import { addressesOf } from '../../dial/addresses.ts'
import { Connection } from '../../dial/connection.ts'
import { dialProxy } from '../../dial/dial-proxy.ts'
import { watchNetwork } from '../../dial/network-watch.ts'
import { softwareOf } from '../../dial/software.ts'
import type { TokenProvider } from '../../dial/token.ts'
import { systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import { localTransport } from '../../protocol/node/local-transport.ts'
import { Relay } from '../../protocol/stream/relay.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'
import { serveStatus, statusOf } from './hub-status.ts'
import { WELCOME } from './place.ts'

/** How often the hub makes sure that its socket is where others look for it, in ms. */
const LOOK_MS = 30_000
/** How long streams that cannot move have on the link to a proxy that leaves, in ms. */
const MOVE_MS = 10_000
/** The part of the link's streams at which further programs are sent to the proxy. */
const FULL = 0.75
/** Programs at once. */
const MAX_PROGRAMS = 1_024

export interface HubOptions {
  path: string
  urls: readonly string[]
  token: TokenProvider
  settings: ClientSettings
}

/**
 * Keeps one link to a proxy and relays over it the streams of this user's other programs, which dial a Unix socket in
 * place of the proxy. It answers for nobody and keeps nothing: when it goes, those programs dial the proxy themselves and
 * resume their streams there.
 */
export class Hub {
  /** Resolves with what ended the hub by itself. */
  readonly failed: Promise<TunnelError>
  readonly #options: HubOptions
  readonly #connection: Connection
  readonly #memory: RelayMemory
  readonly #server: Server
  /** The links of the programs, and the proxy that each has been told of: what one has begun, another must not begin again. */
  readonly #links = new Map<Link, string | undefined>()
  readonly #relays = new Set<Relay>()
  /** Passes on each relay that waits for a link. */
  readonly #waiting = new Map<Relay, (link: Link) => void>()
  readonly #stopWatch: () => void
  /** The proxy of the last link. */
  #instance: string | undefined
  /** Since the last link. */
  #isLost = false
  #linkedAtMs = 0
  #lostAtMs: number | undefined
  #statusServer: Server | undefined
  #inode: number | undefined
  #lookTimer: NodeJS.Timeout | undefined
  #gone: (error: TunnelError) => void = () => {}

  constructor(options: HubOptions) {
    this.#options = options
    const { heartbeat, backoff, streams, compression } = options.settings
    this.#memory = new RelayMemory(streams.userBudgetBytes)
    this.#connection = new Connection({
      urls: addressesOf(options.urls).map(({ link }) => link),
      token: options.token,
      hello: () => this.#hello(),
      dial: dialProxy,
      clock: systemClock,
      random: Math.random,
      backoff,
      streams: () => this.#relays.size,
      provenMs: heartbeat.intervalMs,
      compression: compression.enabled ? { thresholdBytes: compression.thresholdBytes } : undefined,
      reach: options.settings,
    })
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket))
    this.#server.maxConnections = MAX_PROGRAMS
    this.#connection.on('lost', () => {
      this.#isLost = true
      this.#lostAtMs = Date.now()
    })
    this.#connection.on('link', (link) => this.#linked(link))
    this.failed = new Promise((resolve) => {
      this.#connection.on('failed', resolve)
      this.#server.on('error', (cause) => {
        resolve(new TunnelError('INTERNAL', `the socket ${options.path} failed`, { cause, hop: 'client' }))
      })
      this.#gone = resolve
    })
    this.#stopWatch = watchNetwork(() => this.#connection.check())
  }

  #hello(): Hello {
    const { heartbeat, streams, limits } = this.#options.settings
    return {
      role: 'client',
      version: PROTOCOL_VERSION,
      software: softwareOf('client'),
      heartbeat,
      limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: streams.maxPerLink },
      resumeMs: streams.resumeMs,
    }
  }

  /** What a program is told: what holds at the proxy holds here. */
  #helloFor({ peer }: Link): Hello {
    const own = this.#hello()
    const { instance, limits, resumeMs } = peer ?? own
    return {
      ...own,
      role: 'proxy',
      software: `${own.software} up:${process.pid}`,
      ...(instance !== undefined && { instance }),
      limits: {
        maxFrameBytes: Math.min(own.limits.maxFrameBytes, limits.maxFrameBytes),
        maxStreams: own.limits.maxStreams,
      },
      resumeMs: Math.min(own.resumeMs, resumeMs),
    }
  }

  /**
   * Dials, then listens: whoever finds the socket finds a link.
   * @throws {TunnelError} as `Connection.connect`, and CONFIG_INVALID where the socket cannot be made
   */
  async start(): Promise<void> {
    await this.#connection.connect()
    const { path, urls } = this.#options
    const [url = ''] = addressesOf(urls).map(({ link }) => link)
    // The caller has found that nobody listens there.
    rmSync(path, { force: true })
    const mask = process.umask(0o177)
    try {
      this.#server.listen(path)
      this.#statusServer = serveStatus(path, () =>
        statusOf(this.#connection.link, {
          url,
          linkedAtMs: this.#linkedAtMs,
          lostAtMs: this.#lostAtMs,
          programs: this.#links.size,
          streams: this.#relays.size,
        }),
      )
    } finally {
      process.umask(mask)
    }
    await once(this.#server, 'listening')
    this.#inode = inodeOf(path)
    this.#lookTimer = setInterval(() => {
      if (inodeOf(path) === this.#inode) return
      this.#gone(new TunnelError('ABORTED', `the socket ${path} is gone`, { hop: 'client' }))
    }, LOOK_MS).unref()
  }

  #accept(socket: Socket): void {
    // Whoever is not let in dials the proxy itself, and hears from it what is wrong.
    const upstream = this.#connection.link
    if (upstream === undefined || this.#isFull(upstream)) return void socket.destroy()
    const link: Link = new Link({
      transport: localTransport(socket, this.#options.settings.limits.maxFrameBytes),
      dialler: false,
      hello: this.#helloFor(upstream),
      handlers: {
        open: (open) => this.#relay(open),
        resume: (resume) => this.#relay(resume),
        closed: () => this.#links.delete(link),
      },
    })
    this.#links.set(link, upstream.peer?.instance)
    socket.write(WELCOME)
    socket.resume()
  }

  /** A program may open several streams, and one that finds no room here would have found it on a link of its own. */
  #isFull({ peer, streamCount }: Link): boolean {
    const most = FULL * (peer?.limits.maxStreams ?? 0)
    return Math.max(streamCount, this.#links.size) >= most
  }

  #linked(link: Link): void {
    const instance = link.peer?.instance
    if (instance !== this.#instance) {
      this.#instance = instance
      // Their streams come back by new links, which name the proxy that is there now.
      for (const program of [...this.#links.keys()]) {
        if (this.#isLost) program.close(moved())
        else program.goaway({ ...moved().toWire(), deadlineMs: MOVE_MS })
      }
    }
    this.#isLost = false
    this.#linkedAtMs = Date.now()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const connect of waiting) connect(link)
  }

  #relay(incoming: IncomingOpen | IncomingResume): void {
    const relay: Relay = new Relay(incoming, {
      memory: this.#memory,
      onOver: () => {
        this.#relays.delete(relay)
        this.#waiting.delete(relay)
      },
    })
    this.#relays.add(relay)
    const { link } = this.#connection
    // A program that has not left yet since the proxy is another: it asks again by a link that names the new one.
    if (this.#links.get(incoming.link) !== this.#instance) return relay.suspend()
    if (link !== undefined) return relay.connect(link, incoming.head)
    this.#waiting.set(relay, (next) => relay.connect(next, incoming.head))
    // Somebody waits.
    this.#connection.hurry()
  }

  /** Resolves when the proxy and the programs have been told. */
  async close(): Promise<void> {
    clearInterval(this.#lookTimer)
    this.#stopWatch()
    const isOurs = inodeOf(this.#options.path) === this.#inode
    // Another's sockets may be there by now, and `close` would remove them.
    for (const server of [this.#server, this.#statusServer]) if (isOurs) server?.close()
    if (!isOurs) this.#server.unref()
    const error = new TunnelError('SHUTTING_DOWN', '`tunnel up` has ended', { hop: 'client' })
    // The proxy first: so its programs hear that their streams have lost their path, and resume them on a way of their own.
    // The other way round the proxy would hear that the streams have lost their user, and end them.
    await this.#connection.close()
    const links = [...this.#links.keys()]
    for (const link of links) link.close(error)
    await Promise.all(links.map((link) => link.gone))
  }
}

function moved(): TunnelError {
  return new TunnelError('SHUTTING_DOWN', 'another proxy is there now', { hop: 'client' })
}

function inodeOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.ino
}
