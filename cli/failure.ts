import { ConfigError } from '../config/errors.ts'
import {
  asTunnelError,
  type ErrorCode,
  type Hop,
  TunnelError,
  type TunnelErrorOptions,
} from '../protocol/codec/errors.ts'
import { visible } from './output.ts'

/** What the shell is told; `docs/CONFIGURATION.md` lists the same. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  authentication: 3,
  unreachable: 4,
  refused: 5,
  /** The reader of our output went away, as the shell names a SIGPIPE. */
  brokenPipe: 141,
  /** The tunnel's own failure, where the command's status is otherwise the remote one. */
  remote: 255,
} as const

/** The command line itself is wrong; nothing was tried. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What this computer refuses, such as a port that is in use: told with a code of its own, and status 1. */
export class LocalError extends Error {
  override readonly name = 'LocalError'
  readonly code: string
  /** What the person may try, as the rest of a sentence; may be empty. */
  readonly advice: string

  constructor(code: string, message: string, advice: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.advice = advice
  }
}

interface Meaning {
  status: number
  /** What the person may try, as the rest of a sentence. */
  advice: string
}

const SIGN_TOKEN =
  'sign a token with `tunnel token --sub NAME` on the proxy and give it as --token or TUNNEL_TOKEN'
const AGENT = 'start `tunnel agent --machine NAME` on that machine; `tunnel machines` lists what is on line'

/** Every code, once: the exit status it becomes, and what helps. */
const MEANINGS: Record<ErrorCode, Meaning> = {
  TOKEN_MISSING: { status: EXIT.authentication, advice: SIGN_TOKEN },
  TOKEN_INVALID: { status: EXIT.authentication, advice: `the proxy did not sign this token: ${SIGN_TOKEN}` },
  TOKEN_EXPIRED: { status: EXIT.authentication, advice: SIGN_TOKEN },
  TOKEN_REVOKED: { status: EXIT.authentication, advice: SIGN_TOKEN },
  TICKET_INVALID: {
    status: EXIT.authentication,
    advice: 'it is good for one use within a short time: ask for another',
  },
  FORBIDDEN: { status: EXIT.refused, advice: 'use a token with the roles that this needs, and no other' },
  POLICY_DENIED: {
    status: EXIT.refused,
    advice: 'ask the operator of the proxy, or the owner of the machine, to allow it',
  },
  TIER_REQUIRED: { status: EXIT.refused, advice: 'this needs a token of a higher tier' },
  MACHINE_UNKNOWN: { status: EXIT.unreachable, advice: AGENT },
  MACHINE_OFFLINE: { status: EXIT.unreachable, advice: AGENT },
  AGENT_LOST: {
    status: EXIT.unreachable,
    advice: 'see whether the agent still runs on that machine, then try again',
  },
  CONNECT_REFUSED: {
    status: EXIT.unreachable,
    advice: 'see that the other end runs and listens at that address',
  },
  DNS_FAILED: { status: EXIT.unreachable, advice: 'check the host name' },
  TIMEOUT: { status: EXIT.unreachable, advice: 'check the network and the address, then try again' },
  LINK_LOST: { status: EXIT.unreachable, advice: 'check the network, then try again' },
  RATE_LIMITED: { status: EXIT.refused, advice: 'wait, or use a token of a higher tier' },
  TOO_MANY_CONNECTIONS: { status: EXIT.refused, advice: 'end some of your other connections' },
  TOO_MANY_STREAMS: { status: EXIT.refused, advice: 'wait for some of your streams to end' },
  POOL_EXHAUSTED: {
    status: EXIT.refused,
    advice: 'end some of them',
  },
  CIRCUIT_OPEN: {
    status: EXIT.refused,
    advice: 'the machine failed several times in a row: wait, and see that its sshd answers',
  },
  SHUTTING_DOWN: { status: EXIT.unreachable, advice: 'the proxy is restarting: try again in a moment' },
  INTERNAL: { status: EXIT.failure, advice: 'see the log of the proxy; --verbose shows the causes' },
  SSH_HANDSHAKE_FAILED: {
    status: EXIT.unreachable,
    advice: 'see that an SSH server listens where the agent looks (--ssh HOST:PORT)',
  },
  SSH_AUTH_FAILED: {
    status: EXIT.authentication,
    advice: '',
  },
  HOST_KEY_CHANGED: {
    status: EXIT.authentication,
    advice:
      'if the machine was set up again, accept its key with `tunnel machines --trust NAME`; otherwise somebody may be intercepting the connection',
  },
  CHANNEL_OPEN_FAILED: {
    status: EXIT.unreachable,
    advice: 'see that something listens at that address on the machine',
  },
  FRAME_INVALID: { status: EXIT.failure, advice: 'use the same version at both ends' },
  FRAME_TOO_LARGE: { status: EXIT.failure, advice: 'use the same version at both ends' },
  VERSION_UNSUPPORTED: { status: EXIT.failure, advice: 'use the same version at both ends' },
  UNKNOWN_STREAM: {
    status: EXIT.failure,
    advice: 'the other end was restarted, and this session is over: connect again',
  },
  RESUME_EXPIRED: {
    status: EXIT.failure,
    advice: 'the path was gone for longer than streams.resumeMs: connect again',
  },
  TAKEN_OVER: {
    status: EXIT.failure,
    advice: 'stop one of the two, or give it another name; after --forget, start the agent again',
  },
  QUEUE_FULL: { status: EXIT.refused, advice: 'send less at once' },
  OUTCOME_UNKNOWN: {
    status: EXIT.failure,
    advice: 'it may have been carried out: look before you send it again',
  },
  ABORTED: { status: EXIT.failure, advice: '' },
  FILE_FAILED: { status: EXIT.failure, advice: '' },
  REQUEST_INVALID: { status: EXIT.failure, advice: 'use the same version at both ends' },
  ROUTE_UNKNOWN: {
    status: EXIT.failure,
    advice: 'see that the address is that of a proxy, of the same version as this command',
  },
  CONFIG_INVALID: {
    status: EXIT.usage,
    advice: '`tunnel config` shows the settings and where each came from',
  },
}

/** Whoever does not know a stream has been restarted since; its hop says who that is. */
const RESTARTED: Partial<Record<Hop, string>> = {
  agent: 'the agent on the machine was restarted, and this session is over: connect again',
  proxy: 'the proxy was restarted, and what ended at it is over: send it again where that does no harm',
}

/** Where a code alone does not say what helps. */
function adviceFor({ code, hop }: TunnelError): string | undefined {
  if (code === 'UNKNOWN_STREAM' && hop !== undefined) return RESTARTED[hop]
  // What another program's server answers is no question of our versions.
  if (code === 'FRAME_INVALID' && hop === 'target') return ''
  if (code === 'TOKEN_INVALID' && hop === 'client') return SIGN_TOKEN
  if (code === 'CONNECT_REFUSED' && hop === 'proxy')
    return 'see that the proxy runs there (`tunnel server` starts one), or give its address with --url'
  return undefined
}

/** Variables by which other programs go through an HTTP proxy, which ours do not. */
const PROXY_VARIABLES = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'HTTP_PROXY', 'http_proxy']
/** What happens where everything but an HTTP proxy is filtered. */
const FILTERED: ReadonlySet<ErrorCode> = new Set(['CONNECT_REFUSED', 'DNS_FAILED', 'TIMEOUT', 'LINK_LOST'])

/** Why a way out that is configured does not help; undefined where none is. */
export function unusedProxy(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const name = PROXY_VARIABLES.find((variable) => env[variable])
  return name && `${name} is set, but tunnel does not use it: it dials the address directly`
}

/** A failure for which the code's usual advice would not help. */
export class AdvisedError extends TunnelError {
  readonly advice: string

  constructor(code: ErrorCode, message: string, advice: string, options: TunnelErrorOptions = {}) {
    super(code, message, { hop: 'client', ...options })
    this.advice = advice
  }
}

/** An error as the person is told of it. */
export interface Failure {
  command: string
  code: string
  hop?: Hop
  message: string
  advice: string
  exitStatus: number
  retryAfterMs?: number
  causes: string[]
}

const oneLine = (text: string): string => visible(text.trim().replace(/\s*\n\s*/g, '; '))

function causesOf(error: unknown): string[] {
  const causes: string[] = []
  for (let cause = error; cause instanceof Error && causes.length < 10; cause = cause.cause) {
    const code = 'code' in cause ? `${String(cause.code)}: ` : ''
    causes.push(oneLine(`${code}${cause.message}`))
  }
  return causes.slice(1)
}

export function describeFailure(command: string, thrown: unknown): Failure {
  if (thrown instanceof UsageError) {
    const advice = `see \`${command} --help\``
    return {
      command,
      code: 'USAGE',
      message: oneLine(thrown.message),
      advice,
      exitStatus: EXIT.usage,
      causes: [],
    }
  }
  if (thrown instanceof LocalError) {
    const { code, message, advice } = thrown
    return {
      command,
      code,
      message: oneLine(message),
      advice,
      exitStatus: EXIT.failure,
      causes: causesOf(thrown),
    }
  }
  const error = asTunnelError(thrown)
  const { status, advice: usual } = MEANINGS[error.code]
  // Of a file that cannot be written, or a plugin, `tunnel config` knows nothing.
  const own = error.code === 'CONFIG_INVALID' && !(error instanceof ConfigError) ? '' : usual
  const given = thrown instanceof AdvisedError ? thrown.advice : undefined
  const unused = FILTERED.has(error.code) && error.hop === 'proxy' ? unusedProxy() : undefined
  const advice = [given ?? adviceFor(error) ?? own, unused].filter(Boolean).join('; ')
  const failure: Failure = {
    command,
    code: error.code,
    message: oneLine(error.message),
    advice,
    exitStatus: status,
    causes: thrown === error ? causesOf(error) : causesOf({ ...error, cause: thrown }),
  }
  if (error.hop !== undefined) failure.hop = error.hop
  if (error.retryAfterMs !== undefined) failure.retryAfterMs = error.retryAfterMs
  return failure
}

export interface FailureStyle {
  json?: boolean | undefined
  verbose?: boolean | undefined
}

/** What goes to stderr: one line, or with `verbose` one more for each cause. */
export function renderFailure(failure: Failure, style: FailureStyle = {}): string {
  if (style.json === true) {
    const { causes, ...rest } = failure
    return `${JSON.stringify({ error: style.verbose === true ? failure : rest })}\n`
  }
  const where = failure.hop === undefined ? failure.code : `${failure.hop}, ${failure.code}`
  const advice = [failure.advice]
  if (failure.retryAfterMs !== undefined)
    advice.push(`try again in ${Math.ceil(failure.retryAfterMs / 1_000)} s`)
  const tail = advice.filter((part) => part !== '').join('; ')
  const line = `${failure.command}: ${failure.message} (${where})${tail === '' ? '' : `: ${tail}`}\n`
  const causes = style.verbose === true ? failure.causes.map((cause) => `  because: ${cause}\n`) : []
  return line + causes.join('')
}
