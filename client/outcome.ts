import { type ErrorCode, TunnelError } from '../protocol/codec/errors.ts'

/** The stream is gone, and with it the knowledge of how far the far side came. */
const PATH_LOST: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNKNOWN_STREAM',
  'RESUME_EXPIRED',
  'LINK_LOST',
  'AGENT_LOST',
  'TAKEN_OVER',
  'SHUTTING_DOWN',
  // The proxy has seen the connection to the service close without a response.
  'OUTCOME_UNKNOWN',
])

/** What may also end a request that was carried; the proxy's other codes refuse one that was not. */
const ENDS_ANY: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['TOKEN_REVOKED', 'INTERNAL', 'ABORTED'])

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

/**
 * How far a try had come. `unsent`: its OPEN was on no link. `sent`: what it failed with may be the answer to that. `begun`:
 * the machine had it, for its response had begun; or the same must be assumed, because it was its RESUME that was refused.
 */
export type Progress = 'unsent' | 'sent' | 'begun'

export interface FailedTry {
  error: TunnelError
  /** Which try it was, from 1. */
  tries: number
  progress: Progress
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
  const { error, tries, progress, idempotent, replayable, final, kept = false } = failed
  const { code } = error
  // The place on the link was still held on the far side; a proxy that leaves begins nothing; or it is what a kept request
  // waits for.
  const passes = code === 'TOO_MANY_STREAMS' || isRefusedByLeaving(error) || (kept && PASSING.has(code))
  const lost = PATH_LOST.has(code) || final
  const isRefused = error.refused && progress === 'sent'
  const isHarmless = idempotent || progress === 'unsent' || isRefused || (passes && progress === 'sent')
  const again = replayable && !final && (kept || tries < MAX_TRIES)
  if (again && isHarmless && (passes || lost)) return 'retry'
  // Who says that it is unknown already says where that happened.
  if (isHarmless || code === 'OUTCOME_UNKNOWN') return error
  return lost || (error.hop !== 'client' && mayFollow(error, progress)) ? outcomeUnknown(error) : error
}

/** A stream that such a proxy had begun ends with the same code, and without a time to come again. */
function isRefusedByLeaving({ code, retryAfterMs }: TunnelError): boolean {
  return code === 'SHUTTING_DOWN' && retryAfterMs !== undefined
}

/** What a caller hears who did not want to wait any longer. */
export function afterGivingUp({ error, progress, idempotent }: FailedTry): TunnelError {
  const isUnknown = error.code === 'TIMEOUT' && progress !== 'unsent' && !idempotent
  return isUnknown ? outcomeUnknown(error) : error
}

/** Whether the request may have been carried out before the far side ended it with `error`. */
function mayFollow({ code, hop }: TunnelError, progress: Progress): boolean {
  return progress === 'begun' || ENDS_ANY.has(code) || (code === 'TIMEOUT' && hop === 'target')
}

/** The text of INTERNAL is a sentence, which nothing can follow. */
const UNEXPECTED = 'something unexpected went wrong'

/** @param cause what is known instead */
export function outcomeUnknown(cause?: TunnelError): TunnelError {
  const isPath = cause === undefined || PATH_LOST.has(cause.code)
  const what = isPath ? 'the path was lost' : cause.code === 'INTERNAL' ? UNEXPECTED : cause.message
  const text = `${what} after the request was sent; it may have been executed`
  return new TunnelError('OUTCOME_UNKNOWN', text, { cause, hop: 'client' })
}

/** No link is coming; the request is on disk, and its outcome another start's. */
export function stillQueued(cause: TunnelError): TunnelError {
  const text =
    'the request was not answered before the client closed; it is on disk, and sent at the next start'
  return new TunnelError('STILL_QUEUED', text, { cause, hop: 'client' })
}
