import { randomBytes } from 'node:crypto'
import { addressesOf } from '../dial/addresses.ts'
import { NEVER_GIVE_UP } from '../dial/backoff.ts'
import { Connection } from '../dial/connection.ts'
import { dialProxy } from '../dial/dial-proxy.ts'
import { watchNetwork } from '../dial/network-watch.ts'
import { softwareOf } from '../dial/software.ts'
import { systemClock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../protocol/codec/hello.ts'
import type { Target } from '../protocol/codec/target.ts'
import { ownAccount } from './account.ts'
import { MachineKeys } from './enrolment.ts'
import { nextEpoch } from './epoch.ts'
import { logLinks } from './link-log.ts'
import type { AgentLog, AgentOptions } from './options.ts'
import { authorizeOwnKey, checkMayAuthorize } from './own-key.ts'
import { checkPlaces } from './places.ts'
import { dialElsewhere, SecondHome } from './second-home.ts'
import { SourceAddresses } from './source-address.ts'
import { AgentStreams } from './streams.ts'
import { TokenRenewals } from './token-renewals.ts'
import { maxStreamsOf } from './user-budgets.ts'

export { type AuthorizeOptions, authorizeKey } from './authorized-keys.ts'
export type { AgentLog, AgentOptions, AgentSettings } from './options.ts'

/** Puts a machine on line: dials out to the proxy, and joins the streams that come in to what its list allows. */
export class Agent {
  /** How it ended: an error, or undefined after `close`. */
  readonly done: Promise<TunnelError | undefined>
  readonly #options: AgentOptions
  readonly #ssh: Target
  readonly #sshUser: string
  readonly #log: AgentLog
  readonly #instance = randomBytes(16).toString('hex')
  readonly #connections: Connection[]
  readonly #epoch: number
  /** Where one address may stand for several proxies. */
  readonly #second: SecondHome | undefined
  /** Those of one address, which are to lead to different proxies. */
  #homes: () => Connection[] = () => []
  readonly #streams: AgentStreams
  readonly #keys: MachineKeys
  /** Those whose first link is still dialled: how that ends, their `connect()` says. */
  readonly #starting = new Set<Connection>()
  readonly #renewals: TokenRenewals
  #finish: (error: TunnelError | undefined) => void = () => {}
  #stopWatching: (() => void) | undefined
  #closed = false

  /** @throws {TunnelError} CONFIG_INVALID */
  constructor(options: AgentOptions) {
    const { machine, settings, ssh = '127.0.0.1:22', allow = [], log = () => {} } = options
    const targets = checkPlaces(machine, [ssh, ...allow])
    this.#options = options
    this.#ssh = targets[0] as Target
    this.#sshUser = options.sshUser ?? ownAccount().username
    if (options.authorize === true) checkMayAuthorize(this.#sshUser, this.#ssh)
    this.#log = log
    this.#renewals = new TokenRenewals(log, (connection) => void this.#dialAgain(connection))
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
    const sources = new SourceAddresses(options.oneSource !== true)
    this.#streams = new AgentStreams({
      ...{ ...options, ssh, allow, settings: settings.streams, log, sources },
      isSshServer: () => this.#keys.hasHostKey,
      sshSpoke: () => this.#keys.spoken(),
    })
    this.#keys = new MachineKeys({
      ssh: this.#ssh,
      sshUser: this.#sshUser,
      log,
      sources,
      // The key is told when a link begins. Streams outlive the change.
      changed: () => {
        for (const { link } of [...this.#connections, ...this.#homes()]) link?.close()
      },
    })
    this.#epoch = nextEpoch(options.epochFile)
    const addresses = addressesOf(options.urls, 'agent')
    this.#connections = addresses.map(({ link }) => this.#told(this.#connection(link), link))
    const [only] = this.#connections
    if (addresses.length > 1 || only === undefined) return
    const second = this.#connection(addresses[0]?.link ?? '')
    this.#second = new SecondHome({ connection: second, takenOver: (error) => void this.#end(error) })
    only.on('link', ({ peer }) => {
      if (peer?.isOneOfSeveral === true) this.#second?.want()
    })
    this.#homes = () => [only, second]
  }

  #hello(): Hello {
    const { machine, settings } = this.#options
    return {
      role: 'agent',
      version: PROTOCOL_VERSION,
      software: softwareOf('agent'),
      machine,
      instance: this.#instance,
      epoch: this.#epoch,
      heartbeat: settings.heartbeat,
      limits: { maxFrameBytes: settings.limits.maxFrameBytes, maxStreams: maxStreamsOf(settings.streams) },
      resumeMs: settings.streams.resumeMs,
      enrol: this.#keys.enrolment,
    }
  }

  /** The instances of the proxies that `connection` is not to lead to. */
  #othersThan(connection: Connection): string[] {
    return this.#homes().flatMap((each) => (each === connection ? [] : (each.link?.peer?.instance ?? [])))
  }

  #connection(url: string): Connection {
    const { token, settings } = this.#options
    const { acceptor } = this.#streams
    const connection: Connection = new Connection({
      urls: [url],
      token,
      hello: () => this.#hello(),
      dial: dialElsewhere(dialProxy, () => this.#othersThan(connection)),
      clock: systemClock,
      compression: undefined,
      reach: settings,
      // There may be no other way to reach its machine and start it again.
      backoff: { ...settings.backoff, maxAttempts: NEVER_GIVE_UP },
      provenMs: settings.heartbeat.intervalMs,
      random: Math.random,
      streams: () => acceptor.size,
      accept: {
        open: (open) => void acceptor.open(open, open.head.subject),
        resume: (resume) => acceptor.resume(resume, resume.head.subject),
      },
    })
    return connection
  }

  /** One that the log tells of, and whose end may be the agent's. */
  #told(connection: Connection, url: string): Connection {
    logLinks(connection, {
      url,
      streams: () => this.#streams.acceptor.size,
      isElsewhere: () => this.#homes().some((each) => each !== connection && each.link !== undefined),
      log: this.#log,
    })
    connection.on('lost', ({ code }) => {
      if (code !== 'ABORTED') this.#keys.refresh()
    })
    connection.on('failed', (error) => {
      if (!this.#starting.has(connection)) this.#failed(connection, error)
    })
    return connection
  }

  /**
   * Resolves when the machine is on line at one proxy at least. Dials on while none can be reached: what is started
   * with its computer may be there before the network is.
   * @throws {TunnelError} what dialling again does not mend, such as a token that is refused
   */
  async start(): Promise<void> {
    this.#stopWatching = watchNetwork(() => {
      for (const connection of new Set([...this.#connections, ...this.#homes()])) connection.check()
    })
    try {
      await this.#keys.scan()
      if (this.#closed) throw stopped()
      await this.#dialAll()
      if (this.#options.authorize === true) await authorizeOwnKey(this.#options, this.#ssh, this.#log)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async #dialAll(): Promise<void> {
    let pending = this.#connections.length
    const dials = this.#connections.map(async (connection) => {
      try {
        await this.#dial(connection)
      } catch (error) {
        pending--
        // The last one ends the start.
        const others = this.urlsOnline.length > 0 || pending > 0
        if (others) this.#failed(connection, asTunnelError(error, 'agent'))
        throw error
      }
    })
    try {
      await Promise.any(dials)
    } catch (error) {
      throw (error as AggregateError).errors[0]
    }
  }

  async #dial(connection: Connection): Promise<void> {
    this.#starting.add(connection)
    try {
      await connection.connect(true)
    } finally {
      this.#starting.delete(connection)
    }
  }

  /** The proxies at which this machine is on line now. */
  get urlsOnline(): string[] {
    const { urls } = this.#options
    return urls.filter((_url, index) => this.#connections[index]?.state === 'connected')
  }

  #failed(connection: Connection, error: TunnelError): void {
    if (this.#closed) return
    if (error.category === 'authentication' && typeof this.#options.token === 'function') {
      return this.#renewals.later(connection, error)
    }
    const alive = this.#connections.some(({ state }) => state !== 'disconnected' && state !== 'closed')
    if (!alive || error.code === 'TAKEN_OVER') void this.#end(error)
    else this.#log('error', `one proxy is lost: ${error.message}`, { code: error.code })
  }

  async #dialAgain(connection: Connection): Promise<void> {
    try {
      await this.#dial(connection)
    } catch (error) {
      this.#failed(connection, asTunnelError(error, 'agent'))
    }
  }

  /** Ends the streams and the links. Safe to call twice. */
  close(): Promise<void> {
    return this.#end(undefined)
  }

  async #end(error: TunnelError | undefined): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#keys.close()
    this.#renewals.close()
    this.#stopWatching?.()
    this.#streams.close(error ?? new TunnelError('AGENT_LOST', 'the agent was stopped', { hop: 'agent' }))
    // Its peers are told before the process may end.
    await Promise.all([this.#second?.close(), ...this.#connections.map((connection) => connection.close())])
    this.#finish(error)
  }
}

function stopped(): TunnelError {
  return new TunnelError('ABORTED', 'the agent was stopped', { hop: 'agent' })
}
