import { type ErrorCode, errorFromWire, TunnelError } from '../protocol/errors.ts'
import type { Access } from './credentials.ts'

/** How long a plain question to the proxy may take, in ms. */
const QUESTION_MS = 15_000

/** Base of the proxy's routes for a URL given as http(s) or ws(s). */
export function apiUrl(base: string, path: string): string {
  const url = new URL(base.replace(/^ws/, 'http'))
  return new URL(`${url.pathname.replace(/\/$/, '')}/api/tunnel/${path}`, url).href
}

/** GETs JSON from the first address that answers; throws the proxy's own error, or why none could be reached. */
export async function fetchJson<T>(
  access: Access,
  path: string,
  options: { anonymous?: boolean } = {},
): Promise<T> {
  const response = await get(access, path, options)
  const body: unknown = await response.json().catch(() => undefined)
  if (!response.ok) throw errorFromProblem(response, body)
  return body as T
}

export async function get(
  access: Access,
  path: string,
  options: { anonymous?: boolean } = {},
): Promise<Response> {
  const headers: Record<string, string> =
    options.anonymous === true ? {} : { authorization: `Bearer ${await access.token()}` }
  let lost: TunnelError | undefined
  for (const base of access.urls) {
    try {
      return await fetch(apiUrl(base, path), {
        headers,
        signal: AbortSignal.timeout(QUESTION_MS),
        redirect: 'error',
      })
    } catch (cause) {
      lost = unreachable(base, cause)
    }
  }
  throw lost
}

function errorFromProblem(response: Response, body: unknown): TunnelError {
  const { code, detail, title, retryAfterMs } = (body ?? {}) as Record<string, unknown>
  const message = detail ?? title ?? `the proxy answered ${response.status}`
  return errorFromWire({ code: code ?? 'INTERNAL', message, retryAfterMs, hop: 'proxy' })
}

/** fetch() hides why it failed in a chain of causes; its system code names it. */
function unreachable(url: string, thrown: unknown): TunnelError {
  const codes = new Map<string, ErrorCode>([
    ['ENOTFOUND', 'DNS_FAILED'],
    ['EAI_AGAIN', 'DNS_FAILED'],
    ['TimeoutError', 'TIMEOUT'],
    ['ETIMEDOUT', 'TIMEOUT'],
  ])
  let code: ErrorCode = 'CONNECT_REFUSED'
  for (let cause = thrown; cause instanceof Error; cause = cause.cause) {
    const found = codes.get('code' in cause ? String(cause.code) : cause.name) ?? codes.get(cause.name)
    if (found !== undefined) code = found
  }
  return new TunnelError(code, `no answer from the proxy at ${url}`, { cause: thrown, hop: 'client' })
}
