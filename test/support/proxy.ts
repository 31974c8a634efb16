import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { WebSocket } from 'ws'
import { Agent, type AgentOptions } from '../../agent/index.ts'
import { type ClientOverrides, TunnelService, type TunnelServiceOptions } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { loadSettings, type Settings } from '../../config/index.ts'
import { signToken, type TokenRequest } from '../../plugins/auth/tokens.ts'
import { type BuildOptions, buildServer } from '../../server.ts'
import type { Scope } from './scope.ts'
import type { Sshd } from './sshd.ts'
import { tempFolder } from './tree.ts'

export type { ClientOverrides } from '../../client/index.ts'

/** Limits out of the way of tests that are not about them. */
const GENEROUS = [
  // A busy machine is no reason for a test to fail, and no test counts on connections that nobody asked for.
  'health.maxLagMs=60000',
  'health.probeMs=0',
  'server.docs=false',
  'rateLimit.perIpPerMinute=1000000',
  'rateLimit.penalties.minMs=86400000',
  'rateLimit.tiers.enterprise.perMinute=1000000',
  'rateLimit.tiers.enterprise.burst=1000000',
]
const QUICK_BACKOFF = { baseMs: 20, maxMs: 200, maxAttempts: 200 }
const TOKEN_TTL_SECONDS = 3_600

export interface LogLine {
  level: string
  message: string
  userId?: string
  context?: Record<string, unknown>
}

export interface ProxyOptions {
  /** `a.b=v`, as `--set`. */
  set?: string[]
  /** Variables that hold settings, such as secret ones. */
  env?: NodeJS.ProcessEnv
  /** Configured hosts. */
  machines?: Settings['machines']
  /** Secrets of another proxy, whose tokens then hold here too. */
  sharing?: TestProxy
  /** Custom plugins. */
  plugins?: BuildOptions['plugins']
  /** @default one that is free */
  port?: number
}

/** The whole proxy inside the test's process, on a port of its own, with users, agents and clients at hand. */
export class TestProxy {
  readonly settings: Settings
  /** What it has logged. */
  readonly log: LogLine[] = []
  readonly #scope: Scope
  readonly #sockets = { client: new Set<WebSocket>(), agent: new Set<WebSocket>() }
  readonly #plugins: NonNullable<BuildOptions['plugins']>
  #app!: FastifyInstance
  #port: number

  constructor(scope: Scope, settings: Settings, { plugins = [], port = 0 }: ProxyOptions) {
    this.#scope = scope
    this.settings = settings
    this.#plugins = plugins
    this.#port = port
  }

  get app(): FastifyInstance {
    return this.#app
  }
  get port(): number {
    return this.#port
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async start(): Promise<void> {
    const logStream = { write: (line: string) => void this.log.push(JSON.parse(line) as LogLine) }
    const app = await buildServer({ settings: this.settings, plugins: this.#plugins, logStream })
    app.websocketServer.on('connection', (socket: WebSocket, request: IncomingMessage) => {
      const sockets = this.#sockets[request.url?.includes('/agent') ? 'agent' : 'client']
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    await app.listen({ host: '127.0.0.1', port: this.#port })
    this.#port = (app.server.address() as AddressInfo).port
    this.#app = app
  }

  /** Another process's worth of proxy on the same port and state; what the old one knew is gone. */
  async restart(): Promise<void> {
    this.cut('client', 'agent')
    await this.#app.close()
    await this.start()
  }

  close(): Promise<void> {
    return this.#app.close()
  }

  /** Drops connections as a network does. */
  cut(...roles: ('client' | 'agent')[]): void {
    for (const role of roles) for (const socket of this.#sockets[role]) socket.terminate()
  }

  tokenOf(user: string, more: Partial<TokenRequest> = {}): string {
    const { secret, issuer, audience } = this.settings.auth
    const usual = { tier: 'enterprise', ttlSeconds: TOKEN_TTL_SECONDS, issuer, audience }
    return signToken(secret, { sub: user, ...usual, ...more })
  }

  /**
   * A token that is good for some seconds, in which a busy computer makes a few links, and when it is over (epoch ms).
   */
  briefTokenOf(user: string): { token: string; expiresAtMs: number } {
    const token = this.tokenOf(user, { ttlSeconds: 6 })
    const { exp } = JSON.parse(String(Buffer.from(token.split('.')[1] ?? '', 'base64url'))) as { exp: number }
    return { token, expiresAtMs: exp * 1_000 }
  }

  /** A client, connected. */
  async connect(user: string, more: Partial<TunnelServiceOptions> = {}): Promise<TunnelService> {
    const tunnel = this.client(user, more)
    await tunnel.connect()
    return tunnel
  }

  /** A client that has not dialled yet. */
  client(user: string, more: Partial<TunnelServiceOptions> = {}): TunnelService {
    const { settings, ...rest } = more
    const overrides: ClientOverrides = { backoff: QUICK_BACKOFF, ...settings }
    const tunnel = new TunnelService({
      url: this.url,
      token: this.tokenOf(user),
      settings: overrides,
      ...rest,
    })
    this.#scope.after(() => tunnel.disconnect(0))
    return tunnel
  }

  agent(machine: string, user: string, more: Partial<AgentOptions> = {}): Agent {
    const agent = new Agent({
      urls: [this.url],
      machine,
      token: this.tokenOf(user),
      settings: resolveSettings({}, 'default', { backoff: QUICK_BACKOFF }),
      ...more,
    })
    this.#scope.after(() => agent.close())
    return agent
  }

  /** An agent on line; `where` is an sshd that then lets the user's inspected mode in, or an address. */
  async startAgent(
    machine: string,
    user: string,
    where?: Sshd | string,
    more: Partial<AgentOptions> = {},
  ): Promise<Agent> {
    const ssh = typeof where === 'object' ? `${where.host}:${where.port}` : where
    if (typeof where === 'object') await where.authorize(this.#app.ssh.publicKey(user))
    const agent = this.agent(machine, user, { ...(ssh === undefined ? {} : { ssh }), ...more })
    await agent.start()
    return agent
  }

  /** A route under /api/tunnel. */
  api(
    user: string | undefined,
    route: string,
    init: { method?: string; token?: string; body?: object } = {},
  ): Promise<Response> {
    const token = init.token ?? (user === undefined ? undefined : this.tokenOf(user))
    return fetch(`${this.url}/api/tunnel/${route}`, {
      method: init.method ?? 'GET',
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: init.body === undefined ? null : JSON.stringify(init.body),
    })
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/api/tunnel/metrics`)).text()
    const lines = text
      .split('\n')
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0)
  }
}

export async function startProxy(scope: Scope, options: ProxyOptions = {}): Promise<TestProxy> {
  const stateDir = join(await tempFolder(scope, 'proxy'), 'state')
  const { env = {}, set = [] } = options
  const { settings } = loadSettings({ stateDir, env, flags: [...GENEROUS, ...set] })
  if (options.sharing !== undefined) {
    settings.auth.secret = options.sharing.settings.auth.secret
    settings.ssh.masterSecret = options.sharing.settings.ssh.masterSecret
  }
  if (options.machines !== undefined) settings.machines = options.machines
  const proxy = new TestProxy(scope, settings, options)
  await proxy.start()
  scope.after(() => proxy.close())
  return proxy
}

/** Least and most time between two questions of `until`, in ms. */
const ASK_AGAIN_MS = { least: 2, most: 50 }

/**
 * Resolves when `holds` does, which is asked again and again, yet for no more than a fifth of the time: one that asks
 * the proxy for its metrics would keep a core busy. Fails after `withinMs`, which is long because computers are busy.
 */
export async function until(holds: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<void> {
  const deadlineMs = performance.now() + withinMs
  for (;;) {
    const askedAtMs = performance.now()
    if (await holds()) return
    const answeredAtMs = performance.now()
    if (answeredAtMs > deadlineMs) throw new Error(`not within ${withinMs} ms: ${String(holds)}`)
    const pauseMs = Math.min(ASK_AGAIN_MS.most, Math.max(ASK_AGAIN_MS.least, 4 * (answeredAtMs - askedAtMs)))
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}

/** All that a stream brings, to its end. */
export async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The next occurrence of an event whose emitter has `on` alone. */
export async function nextEvent(emitter: NodeJS.EventEmitter, name: string): Promise<unknown[]> {
  return (await once(emitter, name)) as unknown[]
}

/** A TCP server on loopback, as `host:port`; its sockets go with the scope. */
export async function listenTcp(scope: Scope, onSocket: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).once('close', () => sockets.delete(socket))
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Gives a stream up without a word to anybody here. */
export function drop(stream: Duplex): void {
  stream.on('error', () => {}).destroy()
}
