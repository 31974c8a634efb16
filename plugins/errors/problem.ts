import { STATUS_CODES } from 'node:http'
import { ERROR_HEADER, type ErrorCategory, type ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'

/** RFC 9457, with our members beside the standard's. */
export interface Problem {
  /** Stable, one for each code; a name and not an address. */
  type: string
  title: string
  status: number
  detail: string
  code: ErrorCode
  category: ErrorCategory
  correlationId: string
  hop?: string
  retryAfterMs?: number
}

export const PROBLEM_CONTENT_TYPE = 'application/problem+json; charset=utf-8'

/** Says nothing of what happened inside; the log does, under the same correlation id. */
const INTERNAL_DETAIL =
  'something unexpected went wrong in the proxy; its log has more under this correlation id'

/** What Fastify, its plugins and their hooks throw, as far as it is read here. */
interface ForeignError {
  code?: unknown
  statusCode?: unknown
  message?: unknown
  validation?: unknown
}

/** Any thrown value as the one error class; what is not an error of ours keeps its text only where it is a client's fault. */
export function toTunnelError(thrown: unknown): { error: TunnelError; status: number } {
  if (thrown instanceof TunnelError) return { error: thrown, status: thrown.statusCode }
  const { statusCode, message, validation }: ForeignError =
    typeof thrown === 'object' && thrown !== null ? thrown : {}
  const status = typeof statusCode === 'number' && statusCode >= 400 && statusCode < 600 ? statusCode : 500
  const code = validation === undefined ? codeOfStatus(status) : 'REQUEST_INVALID'
  const text = status < 500 && typeof message === 'string' ? message : INTERNAL_DETAIL
  return { error: new TunnelError(code, text, { cause: thrown, hop: 'proxy' }), status }
}

function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return 'TOKEN_INVALID'
  if (status === 403) return 'FORBIDDEN'
  if (status === 404) return 'ROUTE_UNKNOWN'
  if (status === 429) return 'RATE_LIMITED'
  return status < 500 ? 'REQUEST_INVALID' : 'INTERNAL'
}

export function problemOf(error: TunnelError, status: number, correlationId: string): Problem {
  const { code, category, hop, retryAfterMs } = error
  return {
    type: `urn:tunnel:error:${code}`,
    title: titleOf(code),
    status,
    // An INTERNAL error may carry the text of whatever it wraps.
    detail: code === 'INTERNAL' ? INTERNAL_DETAIL : error.message,
    code,
    category,
    correlationId,
    ...(hop === undefined ? {} : { hop }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  }
}

/** `TOKEN_EXPIRED` is titled `Token expired`. */
function titleOf(code: ErrorCode): string {
  const words = code.toLowerCase().replaceAll('_', ' ')
  return words[0]!.toUpperCase() + words.slice(1).replace('ssh', 'SSH').replace('dns', 'DNS')
}

/** The value of Retry-After, whole seconds; 0 invites to try again at once, and only where that is said. */
export function retryAfterSeconds(retryAfterMs: number): number {
  return retryAfterMs === 0 ? 0 : Math.max(1, Math.ceil(retryAfterMs / 1_000))
}

/** A whole answer, for a socket that no Fastify reply stands behind: the request was no HTTP, or was upgraded. */
export function rawProblem(error: TunnelError, status: number, correlationId: string): string {
  const body = JSON.stringify(problemOf(error, status, correlationId))
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    `content-type: ${PROBLEM_CONTENT_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `x-correlation-id: ${correlationId}`,
    `${ERROR_HEADER}: ${error.code}`,
    'connection: close',
  ]
  return `${headers.join('\r\n')}\r\n\r\n${body}`
}
