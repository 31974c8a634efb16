import { asTunnelError, type ErrorCode, type Hop, TunnelError } from '../protocol/codec/errors.ts'
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

/** Every code, once: the exit status it becomes. */
const EXIT_OF: Record<ErrorCode, number> = {
  TOKEN_MISSING: EXIT.authentication,
  TOKEN_INVALID: EXIT.authentication,
  TOKEN_EXPIRED: EXIT.authentication,
  TOKEN_REVOKED: EXIT.authentication,
  TICKET_INVALID: EXIT.authentication,
  FORBIDDEN: EXIT.refused,
  POLICY_DENIED: EXIT.refused,
  TIER_REQUIRED: EXIT.refused,
  MACHINE_UNKNOWN: EXIT.unreachable,
  KIND_UNKNOWN: EXIT.failure,
  MACHINE_OFFLINE: EXIT.unreachable,
  AGENT_LOST: EXIT.unreachable,
  CONNECT_REFUSED: EXIT.unreachable,
  DNS_FAILED: EXIT.unreachable,
  TIMEOUT: EXIT.unreachable,
  CERTIFICATE_EXPIRED: EXIT.unreachable,
  CERTIFICATE_NOT_YET_VALID: EXIT.unreachable,
  CERTIFICATE_UNTRUSTED: EXIT.unreachable,
  CERTIFICATE_WRONG_HOST: EXIT.unreachable,
  CERTIFICATE_NOT_PINNED: EXIT.unreachable,
  TLS_FAILED: EXIT.unreachable,
  HTTP_PROXY_AUTH_REQUIRED: EXIT.unreachable,
  HTTP_PROXY_FAILED: EXIT.unreachable,
  SESSION_UNKNOWN: EXIT.unreachable,
  LINK_LOST: EXIT.unreachable,
  RATE_LIMITED: EXIT.refused,
  TOO_MANY_CONNECTIONS: EXIT.refused,
  ALREADY_HOME: EXIT.refused,
  TOO_MANY_STREAMS: EXIT.refused,
  POOL_EXHAUSTED: EXIT.refused,
  CIRCUIT_OPEN: EXIT.refused,
  OVERLOADED: EXIT.refused,
  SHUTTING_DOWN: EXIT.unreachable,
  STATE_UNAVAILABLE: EXIT.unreachable,
  INTERNAL: EXIT.failure,
  SSH_HANDSHAKE_FAILED: EXIT.unreachable,
  SSH_AUTH_FAILED: EXIT.authentication,
  HOST_KEY_CHANGED: EXIT.authentication,
  CHANNEL_OPEN_FAILED: EXIT.unreachable,
  FRAME_INVALID: EXIT.failure,
  FRAME_TOO_LARGE: EXIT.failure,
  VERSION_UNSUPPORTED: EXIT.failure,
  UNKNOWN_STREAM: EXIT.failure,
  RESUME_EXPIRED: EXIT.failure,
  TAKEN_OVER: EXIT.failure,
  QUEUE_FULL: EXIT.refused,
  OUTCOME_UNKNOWN: EXIT.failure,
  STILL_QUEUED: EXIT.unreachable,
  QUEUE_LOCKED: EXIT.usage,
  STORE_FAILED: EXIT.failure,
  ABORTED: EXIT.failure,
  FILE_FAILED: EXIT.failure,
  REQUEST_INVALID: EXIT.failure,
  ROUTE_UNKNOWN: EXIT.failure,
  CONFIG_INVALID: EXIT.usage,
  CONFIG_CHANGED: EXIT.failure,
}

/** An error as the person is told of it. */
export interface Failure {
  command: string
  code: string
  /** Where it arose; absent for a command line that is wrong, and for what this computer refuses. */
  hop?: Hop
  message: string
  advice: string
  exitStatus: number
  retryAfterMs?: number
  causes: string[]
  /** Of what nobody expected: where it arose in the code. */
  stack?: string[]
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

/** Of the operating system's words, what stands behind its code: "EROFS: read-only file system, open '/x'". */
function systemErrorAsLocal(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof TunnelError) return thrown
  const { code, syscall, message } = thrown as NodeJS.ErrnoException
  if (code === undefined || syscall === undefined) return thrown
  return new LocalError(code, message.replace(`${code}: `, ''), '', thrown.cause)
}

export function describeFailure(command: string, given: unknown): Failure {
  const thrown = systemErrorAsLocal(given)
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
  const error = asTunnelError(thrown, 'client')
  const { code, hop, message, suggestion } = error
  const failure: Failure = {
    command,
    code,
    hop,
    message: oneLine(message),
    advice: suggestion,
    exitStatus: EXIT_OF[code],
    causes: causesOf(thrown),
  }
  if (thrown !== error && thrown instanceof Error) failure.stack = stackOf(thrown)
  if (error.retryAfterMs !== undefined) failure.retryAfterMs = error.retryAfterMs
  return failure
}

function stackOf({ stack = '' }: Error): string[] {
  return stack.split('\n').map((line) => visible(line.trim()))
}

export interface FailureStyle {
  json?: boolean | undefined
  verbose?: boolean | undefined
}

/** What goes to stderr: one line, and with `verbose` one more for each cause and each line of a stack. */
export function renderFailure(failure: Failure, style: FailureStyle = {}): string {
  if (style.json === true) {
    const { causes, stack, ...rest } = failure
    return `${JSON.stringify({ error: style.verbose === true ? failure : rest })}\n`
  }
  const where = failure.hop === undefined ? failure.code : `${failure.hop}, ${failure.code}`
  const advice = [failure.advice]
  if (failure.retryAfterMs !== undefined)
    advice.push(`try again in ${Math.ceil(failure.retryAfterMs / 1_000)} s`)
  const tail = advice.filter((part) => part !== '').join('; ')
  const line = `${failure.command}: ${failure.message} (${where})${tail === '' ? '' : `: ${tail}`}\n`
  if (style.verbose !== true) return line
  const causes = failure.causes.map((cause) => `  because: ${cause}\n`)
  return [line, ...causes, ...(failure.stack ?? []).map((line) => `  ${line}\n`)].join('')
}
