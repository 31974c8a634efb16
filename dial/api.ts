import {
  asTunnelError,
  type ErrorCode,
  errorFromWire,
  isErrorCode,
  TunnelError,
} from '../protocol/codec/errors.ts'
import { notAProxy, redirected, tlsFailure } from '../protocol/link/dial-failure.ts'
import type { ProxyAddress } from './addresses.ts'
import { keepProcessAlive } from './keep-process-alive.ts'
import { askToken, type TokenProvider } from './token.ts'

export interface ProxyRequest {
  /** Under /api/tunnel. */
  route: string
  /** @default 'GET' */
  method?: string
  /** Absent for a route that asks for none. */
  token?: TokenProvider
  /** Sent as JSON. */
  body?: unknown
  /** For each address, in ms. */
  timeoutMs: number
}

/**
 * A route's answer, whatever its status, from the first address that answers.
 * @throws {TunnelError} TOKEN_MISSING, TIMEOUT, DNS_FAILED, CONNECT_REFUSED
 */
export async function fetchFromProxy(
  addresses: readonly ProxyAddress[],
  { route, method = 'GET', token, body, timeoutMs }: ProxyRequest,
): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (token !== undefined) headers.authorization = `Bearer ${await askToken(token)}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  let last: TunnelError | undefined
  for (const { api } of addresses) {
    try {
      const signal = AbortSignal.timeout(timeoutMs)
      // A token goes nowhere but where it was meant to.
      const init: RequestInit = { method, headers, signal, redirect: 'manual' }
      if (body !== undefined) init.body = JSON.stringify(body)
      const response = await keepProcessAlive(() => fetch(`${api}/${route}`, init))
      if (response.status < 300 || response.status >= 400) return response
      const message = redirected(api, response.status, response.headers.get('location') ?? undefined)
      last = new TunnelError('CONNECT_REFUSED', message, { hop: 'proxy' })
      await response.body?.cancel()
    } catch (error) {
      last = unreachable(new URL(api).origin, error)
      if (last.hop === 'client') throw last
    }
  }
  throw last
}

/** The same, as JSON. @throws {TunnelError} also what the proxy's problem document (RFC 9457) says */
export async function callProxy(
  addresses: readonly ProxyAddress[],
  question: ProxyRequest,
): Promise<unknown> {
  const response = await fetchFromProxy(addresses, question)
  let body: unknown
  try {
    const text = await textOf(response)
    body = text === '' ? undefined : JSON.parse(text)
  } catch (error) {
    if (response.ok) throw noProxy(response, asTunnelError(error, 'client'))
  }
  if (response.ok) return body
  const problem = (body ?? {}) as Record<string, unknown>
  if (!isErrorCode(problem.code)) throw noProxy(response)
  throw errorFromWire({ hop: 'proxy', ...problem, message: problem.detail ?? problem.title })
}

/** The public SSH key with which the proxy logs in for whoever has the token. @throws {TunnelError} */
export async function askPublicKey(
  addresses: readonly ProxyAddress[],
  token: TokenProvider,
  timeoutMs: number,
): Promise<string> {
  const answer = await callProxy(addresses, { route: 'ssh/key', token, timeoutMs })
  const publicKey = (answer as { publicKey?: unknown } | null)?.publicKey
  if (typeof publicKey === 'string') return publicKey
  throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
}

/** No answer of a proxy is longer than a list of a user's thousand machines. */
const MAX_ANSWER_BYTES = 4_194_304

async function textOf({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let size = 0
  for await (const chunk of body ?? []) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

function noProxy({ url, status }: Response, cause?: unknown): TunnelError {
  return new TunnelError('CONNECT_REFUSED', notAProxy(url, status), { cause, hop: 'proxy' })
}

const CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['ENOTFOUND', 'DNS_FAILED'],
  ['EAI_AGAIN', 'DNS_FAILED'],
  ['TimeoutError', 'TIMEOUT'],
  ['ETIMEDOUT', 'TIMEOUT'],
])

/** fetch() hides why it failed in a chain of causes; its system code names it. */
function unreachable(origin: string, thrown: unknown): TunnelError {
  // What it throws without a cause is a mistake on this side.
  const isLocal = thrown instanceof TypeError && thrown.cause === undefined
  if (isLocal) {
    const message = `the request to ${origin} could not be made`
    return new TunnelError('INTERNAL', message, { cause: thrown, hop: 'client' })
  }
  let code: ErrorCode = 'CONNECT_REFUSED'
  let why = ''
  for (let cause = thrown; cause instanceof Error; cause = cause.cause) {
    const system = 'code' in cause ? String(cause.code) : ''
    code = CODES.get(system) ?? CODES.get(cause.name) ?? code
    why = tlsFailure(system, cause.message) ?? why
  }
  const message = why === '' ? `no answer from the proxy at ${origin}` : `${origin}: ${why}`
  return new TunnelError(code, message, { cause: thrown, hop: 'proxy' })
}
