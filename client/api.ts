import { asTunnelError, type ErrorCode, errorFromWire, isErrorCode, TunnelError } from '../protocol/errors.ts'
import type { ProxyAddress } from './addresses.ts'
import { awake } from './awake.ts'
import { askToken, type TokenProvider } from './token.ts'

export interface ProxyQuestion {
  /** Under /api/tunnel. */
  route: string
  /** @default 'GET' */
  method?: string
  /** Absent for a route that asks for none. */
  token?: TokenProvider
  /** For each address, in ms. */
  timeoutMs: number
}

/**
 * A route's answer, whatever its status, from the first address that answers.
 * @throws {TunnelError} TOKEN_MISSING, TIMEOUT, DNS_FAILED, CONNECT_REFUSED
 */
export async function fetchFromProxy(
  addresses: readonly ProxyAddress[],
  { route, method = 'GET', token, timeoutMs }: ProxyQuestion,
): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (token !== undefined) headers.authorization = `Bearer ${await askToken(token)}`
  let last: TunnelError | undefined
  for (const { api } of addresses) {
    try {
      const signal = AbortSignal.timeout(timeoutMs)
      // A token goes nowhere but where it was meant to.
      const init: RequestInit = { method, headers, signal, redirect: 'error' }
      return await awake(() => fetch(`${api}/${route}`, init))
    } catch (error) {
      last = unreachable(new URL(api).origin, error)
    }
  }
  throw last
}

/** The same, as JSON. @throws {TunnelError} also what the proxy's problem document (RFC 9457) says */
export async function askProxy(
  addresses: readonly ProxyAddress[],
  question: ProxyQuestion,
): Promise<unknown> {
  const response = await fetchFromProxy(addresses, question)
  let body: unknown
  try {
    const text = await response.text()
    body = text === '' ? undefined : JSON.parse(text)
  } catch (error) {
    if (response.ok) throw noProxy(response, asTunnelError(error))
  }
  if (response.ok) return body
  const problem = (body ?? {}) as Record<string, unknown>
  if (!isErrorCode(problem.code)) throw noProxy(response)
  throw errorFromWire({ hop: 'proxy', ...problem, message: problem.detail ?? problem.title })
}

function noProxy({ url, status }: Response, cause?: unknown): TunnelError {
  const { origin } = new URL(url)
  return new TunnelError('CONNECT_REFUSED', `${origin} answered ${status}, it is no tunnel proxy`, {
    cause,
    hop: 'proxy',
  })
}

const CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['ENOTFOUND', 'DNS_FAILED'],
  ['EAI_AGAIN', 'DNS_FAILED'],
  ['TimeoutError', 'TIMEOUT'],
  ['ETIMEDOUT', 'TIMEOUT'],
])

/** fetch() hides why it failed in a chain of causes; its system code names it. */
function unreachable(origin: string, thrown: unknown): TunnelError {
  let code: ErrorCode = 'CONNECT_REFUSED'
  for (let cause = thrown; cause instanceof Error; cause = cause.cause) {
    const system = 'code' in cause ? CODES.get(String(cause.code)) : undefined
    code = system ?? CODES.get(cause.name) ?? code
  }
  return new TunnelError(code, `no answer from the proxy at ${origin}`, { cause: thrown, hop: 'proxy' })
}
