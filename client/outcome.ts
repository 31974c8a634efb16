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

/** Tries of one request, the first included. */
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
}

/** What to do about a request that ended without a response head: try again, or which error to end with. */
export function retryDecision({
  error,
  tries,
  sent,
  idempotent,
  replayable,
  final,
}: FailedTry): 'retry' | TunnelError {
  // The place on the link was still held on the far side: this was never executed.
  const refused = error.code === 'TOO_MANY_STREAMS'
  const lost = PATH_LOST.has(error.code) || final
  if (!refused && !lost) return error
  const again = replayable && tries < MAX_TRIES && !final
  if (again && (refused || !sent || idempotent)) return 'retry'
  // Who says so already says where it happened.
  if (refused || !sent || idempotent || error.code === 'OUTCOME_UNKNOWN') return error
  return new TunnelError(
    'OUTCOME_UNKNOWN',
    'the path was lost after the request was sent; it may have been executed',
    {
      cause: error,
      hop: 'client',
    },
  )
}
