import type { Socket } from 'node:net'
import { systemClock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import { LOOKUP } from '../protocol/codec/heads.ts'
import { parseTarget, type Target } from '../protocol/codec/target.ts'
import { Join } from '../protocol/node/join.ts'
import type { Lookup } from '../protocol/node/names.ts'
import type { StreamsOptions } from '../protocol/options.ts'
import { StreamAcceptor } from '../protocol/stream/acceptor.ts'
import type { TunnelStream } from '../protocol/stream/stream.ts'
import { TokenBucket } from '../protocol/token-bucket.ts'
import { dialTarget } from './dial.ts'
import { greeted } from './greeting.ts'
import { type Asker, type Login, Logins, watchLogin } from './logins.ts'
import { Lookups } from './lookups.ts'
import type { AgentLog } from './options.ts'
import { OWN, type SourceAddresses } from './source-address.ts'
import { UserBudgets } from './user-budgets.ts'

export interface AgentStreamsOptions {
  machine: string
  /** The SSH server: where a stream without a target goes. */
  ssh: string
  /** What else may be dialled. */
  allow: readonly string[]
  settings: StreamsOptions
  log: AgentLog
  /** Where each user's connections to the SSH server come from. */
  sources: SourceAddresses
  /** Whether it has shown that it is one: to what is not, nobody logs in. */
  isSshServer(): boolean
  /** It has spoken to whoever was joined to it. */
  sshSpoke(): void
  /** Resolves what proxies ask about. @default the system's resolver */
  lookup?: Lookup | undefined
  lookupsAtOnce?: number | undefined
}

/** The streams that come in, from whichever proxy, and what they are joined to on this machine. */
export class AgentStreams {
  readonly acceptor: StreamAcceptor
  readonly #machine: string
  readonly #ssh: string
  /** The same however it was written, when the agent was started or by whoever asks. */
  readonly #sshAuthority: string | undefined
  readonly #allowed: ReadonlySet<string | undefined>
  readonly #log: AgentLog
  readonly #sources: SourceAddresses
  readonly #isSshServer: () => boolean
  readonly #sshSpoke: () => void
  readonly #logins = new Logins()
  readonly #lookups: Lookups
  /** Refusals that are worth a line of the log: a burst of 50, then one a second. */
  readonly #refusals = new TokenBucket(systemClock, 1, 50)

  constructor(options: AgentStreamsOptions) {
    const { machine, ssh, allow, settings, log, sources, isSshServer, sshSpoke } = options
    this.#machine = machine
    this.#lookups = new Lookups(options.lookup, options.lookupsAtOnce)
    this.#sources = sources
    this.#isSshServer = isSshServer
    this.#sshSpoke = sshSpoke
    this.#ssh = ssh
    this.#sshAuthority = parseTarget(ssh)?.authority
    this.#allowed = new Set([this.#sshAuthority, ...allow.map((target) => parseTarget(target)?.authority)])
    this.#log = log
    const budgets = new UserBudgets(settings)
    this.acceptor = new StreamAcceptor({
      settings,
      hop: 'agent',
      budgetOf: (user = OWN) => budgets.of(user),
      onStream: (stream) => void this.#serve(stream),
      onForeignResume: (id, subject) =>
        log('warn', 'a resume of a stream of another user was refused', { streamId: id, userId: subject }),
    })
  }

  /** Ends every stream with `error`. Safe to call twice. */
  close(error: TunnelError): void {
    this.acceptor.close(error)
    this.#logins.close()
  }

  /** One line at a stream's end: whose, where to, how long and how much. */
  #watch(stream: TunnelStream, socket: Socket, target: string): void {
    const startedAtMs = performance.now()
    const { subject } = stream.head
    const context = {
      ...{ machine: this.#machine, target, userId: subject, streamId: stream.id },
      // By this a line of sshd's log is somebody's.
      source: `${socket.localAddress}:${socket.localPort}`,
    }
    this.#log('debug', `a stream to ${target} begins`, context)
    socket.once('close', () => {
      const durationMs = Math.round(performance.now() - startedAtMs)
      const { bytesRead: sent, bytesWritten: received } = socket
      // The proxy itself has tried whether the server answers, as it does again and again.
      const isTrial = subject === undefined
      const whose = isTrial ? "a trial of the proxy's" : `a stream of ${subject}`
      const how = `${(durationMs / 1_000).toFixed(1)} s, ${bytes(received)} in, ${bytes(sent)} out`
      this.#log(isTrial ? 'debug' : 'info', `${whose} to ${target} is over: ${how}`, {
        ...context,
        durationMs,
        bytesIn: received,
        bytesOut: sent,
      })
    })
  }

  /** @throws {TunnelError} also TOO_MANY_CONNECTIONS where too many log in, this user's or everybody's */
  async #dialSsh(ssh: Target, whose: string, asker: Asker): Promise<Socket> {
    let login: Login | undefined
    try {
      if (this.#isSshServer()) login = await this.#logins.begin(whose, asker)
      const socket = await dialTarget(ssh, this.#sources.addressFor(whose))
      if (await greeted(socket, ssh.authority)) this.#sshSpoke()
      if (login !== undefined) watchLogin(socket, login)
      return socket
    } catch (error) {
      login?.over()
      throw error
    }
  }

  async #serve(stream: TunnelStream): Promise<void> {
    const { kind, target = this.#ssh, subject } = stream.head
    try {
      if (kind === LOOKUP) return await this.#lookups.answer(stream, subject ?? OWN)
      if (kind !== 'ssh')
        throw new TunnelError('POLICY_DENIED', `an agent carries no ${kind} streams`, { hop: 'agent' })
      const wanted = parseTarget(target)
      if (wanted === undefined || !this.#allowed.has(wanted.authority)) throw notAllowed(target)
      const gone = new AbortController()
      const whose = subject ?? OWN
      const asker: Asker = {
        gone: gone.signal,
        isAway: () => stream.suspended,
        giveUp: (error) => stream.reset(error),
      }
      const join = new Join(stream, {
        closed: () => gone.abort(),
        suspended: () => this.#logins.away(whose, asker),
        resumed: () => this.#logins.back(whose, asker),
      })
      const isSsh = wanted.authority === this.#sshAuthority
      const socket = isSsh ? await this.#dialSsh(wanted, whose, asker) : await dialTarget(wanted)
      // It may have been given up while we dialled.
      if (join.over) {
        socket.destroy()
        return
      }
      this.#watch(stream, socket, target)
      stream.accept()
      join.attach(socket, { failed: (error) => lost(target, error), unread: () => closed(target) })
      socket.resume()
    } catch (thrown) {
      const error = asTunnelError(thrown, 'agent')
      // A peer may ask for what is refused without end.
      if (error.code !== 'ABORTED' && this.#refusals.take()) {
        const context = { code: error.code, userId: subject }
        this.#log(
          'warn',
          `${kind === LOOKUP ? 'a lookup of' : 'a stream to'} ${shown(target)} was refused: ${error.message}`,
          context,
        )
      }
      stream.reset(error)
    }
  }
}

/** 1,234,567 bytes as '1.2 MB'. */
function bytes(count: number): string {
  const units = ['kB', 'MB', 'GB', 'TB']
  let unit = 'B'
  let value = count
  while (value >= 1_000 && units.length > 0) {
    value /= 1_000
    unit = units.shift() as string
  }
  return `${unit === 'B' ? value : value.toFixed(1)} ${unit}`
}

/** A peer's word: it may be long, and hold anything. */
function shown(target: string): string {
  return /^[\x21-\x7e]{1,100}$/.test(target) ? target : JSON.stringify(target.slice(0, 100))
}

function lost(target: string, cause: Error): TunnelError {
  return new TunnelError('CONNECT_REFUSED', `the connection to ${target} was lost on the machine`, {
    cause,
    hop: 'target',
  })
}

function closed(target: string): TunnelError {
  const text = `${target} closed the connection while bytes were on their way`
  return new TunnelError('CONNECT_REFUSED', text, { hop: 'target' })
}

function notAllowed(target: string): TunnelError {
  return new TunnelError(
    'POLICY_DENIED',
    `the agent of this machine does not allow ${shown(target)} (start it with --allow ${shown(target)})`,
    { hop: 'agent' },
  )
}
