import { type ErrorCode, TunnelError } from '../protocol/codec/errors.ts'

/** RFC 9110, section 9.2.2. */
const IDEMPOTENT_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT_METHODS.has(method)
}

/** The stream is gone, and with it the knowledge of how far the far side came. */
const PATH_LOST: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNKNOWN_STREAM',
  'RESUME_EXPIRED',
  'LINK_LOST',
  'SHUTTING_DOWN',
  // The proxy has seen the service close the connection without a response.
  'OUTCOME_UNKNOWN',
])

/** Refused before anything was executed, for a reason that passes. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'MACHINE_OFFLINE',
  'RATE_LIMITED',
  'TOO_MANY_CONNECTIONS',
  'POOL_EXHAUSTED',
  'OVERLOADED',
  'CIRCUIT_OPEN',
  // Its mark could not be written, so it was not sent.
  'STORE_FAILED',
])

/** Tries of one request, the first included; one that is kept on disk is tried until it has an outcome. */
export const MAX_TRIES = 4

export interface FailedTry {
  error: TunnelError
  /** Which try it was, from 1. */
  tries: number
  /** Its OPEN had been handed to a link. */
  sent: boolean
  /** A second execution does what one does: RFC 9110, or the caller's word. */
  idempotent: boolean
  /** The body can be sent again. */
  replayable: boolean
  /** No further link is coming: nothing can be tried again. */
  final: boolean
  /** It is on disk, and may wait for as long as it takes. */
  kept?: boolean
}

/** What to do about a request that has no whole answer: try again, or which error to end with. */
export function retryDecision(failed: FailedTry): 'retry' | TunnelError {
  const { error, tries, sent, idempotent, replayable, final, kept = false } = failed
  const { code } = error
  // The place on the link was still held on the far side: this was never executed.
  const refused = code === 'TOO_MANY_STREAMS' || (kept && PASSING.has(code))
  const lost = PATH_LOST.has(code) || final || (kept && code === 'AGENT_LOST')
  if (!refused && !lost) return error
  const again = replayable && !final && (kept || tries < MAX_TRIES)
  if (again && (refused || !sent || idempotent)) return 'retry'
  // Who says so already says where it happened.
  if (refused || !sent || idempotent || code === 'OUTCOME_UNKNOWN') return error
  return outcomeUnknown(error)
}

/** @param cause what is known instead */
export function outcomeUnknown(cause?: TunnelError): TunnelError {
  const text = 'the path was lost after the request was sent; it may have been executed'
  return new TunnelError('OUTCOME_UNKNOWN', text, { cause, hop: 'client' })
}

/** No link is coming; the request is on disk, and its outcome another start's. */
export function stillQueued(cause: TunnelError): TunnelError {
  const text =
    'the request was not answered before the client closed; it is on disk, and sent at the next start'
  return new TunnelError('STILL_QUEUED', text, { cause, hop: 'client' })
}
