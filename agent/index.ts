import { randomBytes } from 'node:crypto'
import { userInfo } from 'node:os'
import { addressesOf } from '../dial/addresses.ts'
import { askPublicKey } from '../dial/api.ts'
import { Connection } from '../dial/connection.ts'
import { watchNetwork } from '../dial/network-watch.ts'
import type { BackoffOptions } from '../dial/options.ts'
import type { TokenProvider } from '../dial/token.ts'
import { systemClock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { MACHINE_NAME } from '../protocol/codec/heads.ts'
import { type Hello, PROTOCOL_VERSION } from '../protocol/codec/hello.ts'
import { parseTarget } from '../protocol/codec/target.ts'
import { dialWebSocket } from '../protocol/node/websocket.ts'
import type {
  CompressionOptions,
  HeartbeatOptions,
  LimitsOptions,
  StreamsOptions,
} from '../protocol/options.ts'
import { authorizedKeysFile, authorizeKey } from './authorized-keys.ts'
import { scanHostKeys } from './host-keys.ts'
import { AgentStreams } from './streams.ts'

export { type AuthorizeOptions, authorizeKey } from './authorized-keys.ts'

export type AgentLog = (
  level: 'error' | 'warn' | 'info' | 'debug',
  message: string,
  context?: Record<string, unknown>,
) => void

/** The sections of a profile that an agent follows. */
export interface AgentSettings {
  /** How long a request to the proxy's routes may take, in ms. */
  request: { timeoutMs: number }
  backoff: BackoffOptions
  compression: CompressionOptions
  heartbeat: HeartbeatOptions
  limits: LimitsOptions
  streams: StreamsOptions
}

export interface AgentOptions {
  /** Base addresses of the proxy's replicas: the agent is on line at each. */
  urls: readonly string[]
  /** The name under which this machine is reached, in its owner's namespace. */
  machine: string
  token: TokenProvider
  /** The SSH server, `host:port`. @default '127.0.0.1:22' */
  ssh?: string
  /** What else may be dialled, `host:port`. @default none */
  allow?: readonly string[]
  /** The account that inspected mode signs in to. @default whoever runs this */
  sshUser?: string
  /** Adds the user's public key to authorized_keys, restricted, once. @default false */
  authorize?: boolean
  settings: AgentSettings
  log?: AgentLog
}

/** How often an SSH server that did not answer is asked again for its host keys, in ms. */
const RESCAN_MS = 5_000
/** A link that is lost after this long is a reason to read the host keys anew, in ms: they are told with the next. */
const SCAN_AGAIN_MS = 60_000
/** How often a token that the proxy has refused is read anew, in ms. */
const RENEW_MS = 5_000
/** A machine nobody can walk to must not give up on its network. */
const NEVER_GIVE_UP = 1_000_000

/** Puts a machine on line: dials out to the proxy, and joins the streams that come in to what its list allows. */
export class Agent {
  /** How it ended: an error, or undefined after `close`. */
  readonly done: Promise<TunnelError | undefined>
  readonly #options: AgentOptions
  readonly #ssh: string
  readonly #sshUser: string
  readonly #log: AgentLog
  readonly #hello: Hello
  readonly #connections: Connection[]
  readonly #streams: AgentStreams
  #finish: (error: TunnelError | undefined) => void = () => {}
  #stopWatching: (() => void) | undefined
  #scannedAtMs = 0
  #rescan: NodeJS.Timeout | undefined
  readonly #renewals = new Map<Connection, NodeJS.Timeout>()
  #closed = false

  /** @throws {TunnelError} CONFIG_INVALID */
  constructor(options: AgentOptions) {
    const { machine, settings, ssh = '127.0.0.1:22', allow = [], log = () => {} } = options
    check(machine, [ssh, ...allow])
    this.#options = options
    this.#ssh = ssh
    this.#sshUser = options.sshUser ?? userInfo().username
    this.#log = log
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
    this.#hello = {
      role: 'agent',
      version: PROTOCOL_VERSION,
      software: `ssh-websocket-tunnel agent (node ${process.versions.node})`,
      machine,
      instance: randomBytes(16).toString('hex'),
      heartbeat: settings.heartbeat,
      limits: { maxFrameBytes: settings.limits.maxFrameBytes, maxStreams: settings.streams.maxPerLink * 4 },
      resumeMs: settings.streams.resumeMs,
      enrol: { hostKeys: [], sshUser: this.#sshUser },
    }
    this.#streams = new AgentStreams({ ssh, allow, settings: settings.streams, log })
    this.#connections = addressesOf(options.urls, 'agent').map(({ link }) => this.#connection(link))
  }

  #connection(url: string): Connection {
    const { token, settings } = this.#options
    const { acceptor } = this.#streams
    const connection = new Connection({
      urls: [url],
      token,
      hello: this.#hello,
      dial: dialWebSocket,
      clock: systemClock,
      compression: undefined,
      backoff: { ...settings.backoff, maxAttempts: NEVER_GIVE_UP },
      provenMs: settings.heartbeat.intervalMs,
      random: Math.random,
      accept: {
        open: (open) => acceptor.open(open, open.head.subject),
        resume: (resume) => acceptor.resume(resume, resume.head.subject),
      },
    })
    let lostAtMs: number | undefined
    connection.on('lost', (error) => {
      lostAtMs = performance.now()
      this.#log('warn', `link lost: ${error.message}`, { code: error.code })
      if (performance.now() - this.#scannedAtMs > SCAN_AGAIN_MS) void this.#scan()
    })
    connection.on('link', () => {
      if (lostAtMs === undefined) return
      const afterMs = Math.round(performance.now() - lostAtMs)
      lostAtMs = undefined
      this.#log('info', `on line again after ${(afterMs / 1_000).toFixed(1)} s`, { streams: acceptor.size })
    })
    connection.on('redial', ({ attempt, delayMs, error }) => {
      if (attempt > 1)
        this.#log('warn', `dialling again in ${(delayMs / 1_000).toFixed(1)} s: ${error.message}`)
    })
    connection.on('tokenFailed', (error) =>
      this.#log('warn', `no fresh token: ${error.message}`, { code: error.code }),
    )
    connection.on('failed', (error) => this.#failed(connection, error))
    return connection
  }

  /**
   * Resolves when the machine is on line at one proxy at least.
   * @throws {TunnelError}
   */
  async start(): Promise<void> {
    const { authorize, urls } = this.#options
    await this.#scan()
    if (authorize === true) await this.#authorize()
    const dials = await Promise.allSettled(this.#connections.map((connection) => connection.connect()))
    const failed = dials.filter((dial) => dial.status === 'rejected')
    if (failed.length === dials.length) {
      await this.close()
      throw failed[0]?.reason
    }
    // Another replica that is not there yet is dialled on, as after a loss.
    dials.forEach((dial, index) => {
      if (dial.status === 'fulfilled') return
      this.#log('warn', `${urls[index]}: ${String(dial.reason.message)}`)
      const connection = this.#connections[index]
      connection?.connect(true).catch((error: TunnelError) => this.#failed(connection, error))
    })
    this.#stopWatching = watchNetwork(() => {
      for (const connection of this.#connections) connection.check()
    })
  }

  /** The proxies at which this machine is on line now. */
  get urlsOnline(): string[] {
    const { urls } = this.#options
    return urls.filter((_url, index) => this.#connections[index]?.state === 'connected')
  }

  /** Reads the SSH server's host keys; when nobody answers, again by and by, and then tells the proxy. */
  async #scan(): Promise<void> {
    this.#scannedAtMs = performance.now()
    const { host, port } = parseTarget(this.#ssh) ?? { host: '', port: 0 }
    const hostKeys = await scanHostKeys(host, port)
    if (this.#closed) return
    const before = this.#hello.enrol?.hostKeys ?? []
    const isNew = hostKeys.some((key) => !before.includes(key))
    if (hostKeys.length === 0) {
      if (before.length === 0 && this.#rescan === undefined) {
        this.#log(
          'warn',
          `no SSH server answers at ${this.#ssh} (yet): it is asked again every ${RESCAN_MS / 1_000} s`,
        )
      }
      clearTimeout(this.#rescan)
      if (before.length === 0) this.#rescan = setTimeout(() => void this.#scan(), RESCAN_MS).unref()
      return
    }
    clearTimeout(this.#rescan)
    this.#hello.enrol = { hostKeys, sshUser: this.#sshUser }
    // The keys are told when a link begins. Streams outlive the change.
    if (isNew) for (const { link } of this.#connections) link?.close()
  }

  async #authorize(): Promise<void> {
    if (this.#sshUser !== userInfo().username) {
      throw new TunnelError(
        'CONFIG_INVALID',
        `--authorize: run the agent as ${this.#sshUser}, whose file it is`,
        {
          hop: 'agent',
        },
      )
    }
    if (!isLoopbackTarget(this.#ssh)) {
      const message = `--authorize is for this machine's own sshd at loopback, not for ${this.#ssh}: put the line that \`tunnel key --line\` prints into authorized_keys there, with its from="…" as that machine sees this one`
      throw new TunnelError('CONFIG_INVALID', message, { hop: 'agent' })
    }
    const { urls, token, settings } = this.#options
    const { timeoutMs } = settings.request
    const publicKey = await askPublicKey(addressesOf(urls), token, timeoutMs)
    const added = await authorizeKey(publicKey)
    const where = authorizedKeysFile()
    this.#log('info', `the key of your proxy ${added ? 'was added to' : 'is in'} ${where}`)
  }

  #failed(connection: Connection, error: TunnelError): void {
    if (this.#closed) return
    if (error.category === 'authentication' && typeof this.#options.token === 'function') {
      return this.#renewLater(connection, error)
    }
    const alive = this.#connections.some(({ state }) => state === 'connected' || state === 'reconnecting')
    if (!alive || error.code === 'TAKEN_OVER') void this.#end(error)
    else this.#log('error', `one proxy is lost: ${error.message}`, { code: error.code })
  }

  /** Whoever renews the token may be late, and nobody may be there to start the agent again. */
  #renewLater(connection: Connection, error: TunnelError): void {
    if (this.#renewals.has(connection)) return
    const seconds = RENEW_MS / 1_000
    this.#log('error', `${error.message}; the token is read again in ${seconds} s`, { code: error.code })
    // Not unref'd: it may be all that this process has left to do.
    const timer = setTimeout(() => {
      this.#renewals.delete(connection)
      connection.connect(true).catch((failure: TunnelError) => this.#failed(connection, failure))
    }, RENEW_MS)
    this.#renewals.set(connection, timer)
  }

  /** Ends the streams and the links. Safe to call twice. */
  close(): Promise<void> {
    return this.#end(undefined)
  }

  async #end(error: TunnelError | undefined): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#rescan)
    for (const timer of this.#renewals.values()) clearTimeout(timer)
    this.#stopWatching?.()
    this.#streams.acceptor.close(
      error ?? new TunnelError('AGENT_LOST', 'the agent was stopped', { hop: 'agent' }),
    )
    // Its peers are told before the process may end.
    await Promise.all(this.#connections.map((connection) => connection.close()))
    this.#finish(error)
  }
}

/** Whether sshd sees this process at loopback when it is dialled there. */
function isLoopbackTarget(target: string): boolean {
  const host = parseTarget(target)?.host ?? ''
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

function check(machine: string, targets: readonly string[]): void {
  const mistakes: string[] = []
  if (!MACHINE_NAME.test(machine)) {
    mistakes.push(
      `machine = ${JSON.stringify(machine)}: a name has 1 to 63 lower-case letters, digits, "-" and "."`,
    )
  }
  for (const target of targets) {
    if (parseTarget(target) === undefined) mistakes.push(`${JSON.stringify(target)} is not HOST:PORT`)
  }
  if (mistakes.length > 0) throw new TunnelError('CONFIG_INVALID', mistakes.join('; '), { hop: 'agent' })
}
