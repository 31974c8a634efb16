import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import ssh2, { type Session } from 'ssh2'
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import auth, { type User } from '../../../plugins/auth/index.ts'
import { AuthOptions } from '../../../plugins/auth/options.ts'
import breaker from '../../../plugins/breaker/index.ts'
import { BreakerOptions } from '../../../plugins/breaker/options.ts'
import forward from '../../../plugins/forward/index.ts'
import { RequestOptions } from '../../../plugins/forward/options.ts'
import type { ConfiguredRoute } from '../../../plugins/machines/index.ts'
import policy from '../../../plugins/policy/index.ts'
import { PolicyOptions } from '../../../plugins/policy/options.ts'
import pool from '../../../plugins/pool/index.ts'
import { PoolOptions } from '../../../plugins/pool/options.ts'
import ssh from '../../../plugins/ssh/index.ts'
import { deriveUserKey } from '../../../plugins/ssh/keys.ts'
import { SshOptions } from '../../../plugins/ssh/options.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import {
  type AcceptHead,
  type HttpResponseHead,
  type RoutedHead,
  readMachine,
  type StreamEvent,
} from '../../../protocol/codec/heads.ts'
import { type Hello, PROTOCOL_VERSION } from '../../../protocol/codec/hello.ts'
import { Link } from '../../../protocol/link/link.ts'
import { lookupAll } from '../../../protocol/node/connect.ts'
import { StreamOpener } from '../../../protocol/stream/opener.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { MemoryPair } from '../../support/memory-transport.ts'
import type { Scope } from '../../support/scope.ts'
import { requireSystem, type Sshd, startSshd } from '../../support/sshd.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { registerGround } from '../ground.ts'

export const ADA: User = { sub: 'ada', tier: 'enterprise', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
const STREAMS = {
  windowBytes: 262_144,
  maxWindowBytes: 8_388_608,
  resumeMs: 5_000,
  maxPerLink: 4_096,
  userBudgetBytes: 1_073_741_824,
}

export interface RigOptions {
  request?: Partial<RequestOptions>
  pool?: Partial<PoolOptions>
  breaker?: Partial<BreakerOptions>
  rateLimit?: object
  user?: User
  /** More lines of sshd_config. */
  config?: string[]
  /** Takes sshd's place: ssh2's own server, which lets everybody in. */
  server?: (session: Session) => void
  plugins?: ((app: FastifyInstance) => Promise<void> | void)[]
}

export interface Rig {
  app: FastifyInstance
  sshd: Sshd
  opener: StreamOpener
  /** The ways to the sshd that were dialled. */
  sockets: net.Socket[]
  /** Resolves when the proxy's side has had the last word of every stream. */
  settled(): Promise<void>
  open(head: Omit<RoutedHead, 'id' | 'window' | 'machine'>, first?: Uint8Array, end?: boolean): Opened
}

/** The proxy's plugins from the hooks to a real sshd, and a client's end of a link to them. */
export async function startRig(t: Scope, options: RigOptions = {}): Promise<Rig> {
  requireSystem('sshd')
  const sshd = await startSshd(t, { config: options.config ?? [] })
  const app = Fastify()
  const embedded = options.server === undefined ? undefined : await startEmbedded(t, options.server)
  const sockets: net.Socket[] = []
  const machines = {
    onForgotten() {},
    async resolve({ sub: owner }: User, asked: string): Promise<ConfiguredRoute> {
      const { name } = readMachine(asked)
      if (name !== 'home')
        throw new TunnelError('MACHINE_UNKNOWN', `no machine is named ${name}`, { hop: 'proxy' })
      return {
        ...{ owner, name, source: 'configured', sshUser: sshd.user },
        hostKeys: async () => (embedded === undefined ? sshd.hostKeys : [embedded.hostKey]),
        hostKeyShown: () => {},
        lookup: async (name) => (await lookupAll(name)).map(({ address }) => address),
        async dial() {
          const socket = net.connect(embedded?.port ?? sshd.port, sshd.host)
          sockets.push(socket)
          await once(socket, 'connect')
          return socket
        },
      }
    },
  }
  const settings = <T>(schema: TSchema, more: object = {}): T => ({
    ...(Value.Default(schema, {}) as T),
    ...more,
  })
  const tiers = tiersByDefault()
  for (const tier of Object.values(tiers)) tier.budgetBytes = STREAMS.userBudgetBytes
  await registerGround(t, app, options.rateLimit, tiers)
  await app.register(
    fp(async (it) => void it.decorate('machines', machines as never), { name: 'tunnel-machines' }),
  )
  await app.register(
    auth,
    settings<AuthOptions>(AuthOptions, { secret: 'the secret of a test rig'.padEnd(40, '.') }),
  )
  await app.register(policy, settings<PolicyOptions>(PolicyOptions))
  await app.register(breaker, settings<BreakerOptions>(BreakerOptions, options.breaker))
  await app.register(
    ssh,
    settings<SshOptions>(SshOptions, { masterSecret: 'the master secret of a test rig'.padEnd(40, '.') }),
  )
  await app.register(pool, settings<PoolOptions>(PoolOptions, options.pool))
  await app.register(forward, {
    request: settings<RequestOptions>(RequestOptions, options.request),
    streams: STREAMS,
  })
  for (const plugin of options.plugins ?? []) await app.register(fp(async (it) => plugin(it)))
  await app.ready()
  await sshd.authorize(app.ssh.publicKey('ada'))

  // The links' own timers keep no process alive, and here nothing else may be under way.
  const alive = setInterval(() => {}, 60_000)
  t.after(() => clearInterval(alive))
  const opener = new StreamOpener({ settings: STREAMS })
  const pair = new MemoryPair({ clock: systemClock })
  const hello = (role: Hello['role']): Hello => ({
    role,
    version: PROTOCOL_VERSION,
    software: 'test',
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: 1_048_576, maxStreams: 4_096 },
    resumeMs: STREAMS.resumeMs,
  })
  const ready = new Promise<void>((resolve) => {
    const client = new Link({
      transport: pair.a,
      dialler: true,
      hello: hello('client'),
      handlers: { ready: () => resolve() },
    })
    const context = {
      user: options.user ?? ADA,
      role: 'client' as const,
      connectionId: 'c1',
      correlationId: 'r1',
      log: app.log,
    }
    const link: Link = new Link({
      transport: pair.b,
      dialler: false,
      hello: hello('proxy'),
      handlers: {
        open: (open) => app.forward.open(door, open),
        resume: (resume) => app.forward.resume(door, resume),
        closed: () => app.forward.leave(link),
      },
    })
    const door = { link, context, admitted: Promise.resolve() }
    app.forward.join(door)
    opener.attach(client)
    t.after(() => client.close())
  })
  await ready
  opener.attach(opener.link as Link)
  t.after(async () => {
    await app.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    app,
    sshd,
    opener,
    sockets,
    async settled() {
      const count = () => [...app.forward.overview.counts()].reduce((sum, [, , streams]) => sum + streams, 0)
      while (count() > 0) await new Promise(setImmediate)
      // The end of a stream is known before its channel's place has been given back.
      await new Promise(setImmediate)
    },
    open: (head, first, end) => new Opened(opener.open({ machine: 'home', ...head }, first, end)),
  }
}

async function startEmbedded(
  t: Scope,
  onSession: (session: Session) => void,
): Promise<{ port: number; hostKey: string }> {
  const key = deriveUserKey('of a test', 'host')
  const server = new ssh2.Server({ hostKeys: [key.privateKey] }, (client) => {
    client.on('authentication', (context) => context.accept())
    client.on('session', (accept) => onSession(accept()))
    client.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return { port: (server.address() as net.AddressInfo).port, hostKey: key.publicKey }
}

/** The client's end of a stream, with everything that came. */
export class Opened {
  readonly stream: TunnelStream
  readonly data: Buffer[] = []
  readonly aux: Buffer[] = []
  readonly events: StreamEvent[] = []
  /** How many bytes are taken and not credited, where `hold` is set: a slow reader. */
  hold = false
  heldBytes = 0
  readonly accepted: Promise<AcceptHead>
  readonly ended: Promise<void>
  /** Rejects with the stream's error. */
  readonly closed: Promise<void>
  #onData: (() => void) | undefined

  constructor(stream: TunnelStream) {
    this.stream = stream
    let accepted: (head: AcceptHead) => void = () => {}
    let refused: (error: TunnelError) => void = () => {}
    let ended: () => void = () => {}
    let settle: (error: TunnelError | undefined) => void = () => {}
    this.accepted = new Promise((resolve, reject) => {
      accepted = resolve
      refused = reject
    })
    this.closed = new Promise((resolve, reject) => {
      settle = (error) => (error === undefined ? resolve() : reject(error))
    })
    this.accepted.catch(() => {})
    this.closed.catch(() => {})
    this.ended = new Promise((resolve) => {
      ended = resolve
    })
    stream.handle({
      accepted: (head) => accepted(head),
      data: (bytes) => {
        this.data.push(Buffer.from(bytes))
        if (this.hold) this.heldBytes += bytes.length
        else stream.consumed(bytes.length)
        this.#onData?.()
      },
      aux: (bytes) => {
        this.aux.push(Buffer.from(bytes))
        stream.consumed(bytes.length)
      },
      event: (event) => {
        this.events.push(event)
        this.#onData?.()
      },
      ended: () => ended(),
      closed: (error) => {
        if (error !== undefined) refused(error)
        settle(error)
      },
    })
  }

  get bytes(): Buffer {
    return Buffer.concat(this.data)
  }

  get text(): string {
    return this.bytes.toString()
  }

  /** Goes on reading after `hold`. */
  take(): void {
    this.hold = false
    this.stream.consumed(this.heldBytes)
    this.heldBytes = 0
  }

  /** Resolves when what has come satisfies `condition`. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve, reject) => {
        this.#onData = resolve
        this.closed.catch(reject)
      })
    }
  }

  /** Writes it all, waiting as a writer must. */
  async send(bytes: Uint8Array, chunkBytes = 65_536): Promise<void> {
    for (let at = 0; at < bytes.length; at += chunkBytes) {
      const more = this.stream.write(bytes.slice(at, at + chunkBytes))
      // A poll on the event loop: `drained` belongs to the handlers, which are set already.
      while (!more && this.stream.heldBytes > 1_048_576) await new Promise(setImmediate)
    }
  }

  /** The head of an HTTP response, however it came. */
  async head(): Promise<HttpResponseHead> {
    const { http } = await this.accepted
    if (http !== undefined) return http
    await this.until(() => this.events.some((event) => 'http' in event))
    return this.events.flatMap((event) => ('http' in event ? [event.http] : []))[0] as HttpResponseHead
  }
}

export async function tcpService(t: Scope, onSocket: (socket: net.Socket) => void): Promise<string> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

export async function webService(t: Scope, handler: http.RequestListener): Promise<string> {
  const server = http.createServer(handler)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`
}
