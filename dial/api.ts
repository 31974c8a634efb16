import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import { connectionFailure } from '../protocol/link/connection-failure.ts'
import { notAProxy, problemOf, redirected } from '../protocol/link/dial-failure.ts'
import { readText } from '../protocol/link/read-text.ts'
import type { Fetch } from '../protocol/link/transport.ts'
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
  /** @default the platform's */
  fetch?: Fetch | undefined
}

/**
 * A route's answer, whatever its status, from the first address that answers.
 * @throws {TunnelError} TOKEN_MISSING, TIMEOUT, DNS_FAILED, CONNECT_REFUSED, CERTIFICATE_…, TLS_FAILED, HTTP_PROXY_…
 */
export async function fetchFromProxy(
  addresses: readonly ProxyAddress[],
  { route, method = 'GET', token, body, timeoutMs, fetch = globalThis.fetch }: ProxyRequest,
): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (token !== undefined) headers.authorization = `Bearer ${await askToken(token)}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  let last: TunnelError | undefined
  for (const { api } of addresses) {
    const url = `${api}/${route}`
    const signal = AbortSignal.timeout(timeoutMs)
    // A token goes nowhere but where it was meant to.
    const init: RequestInit = { method, headers, signal, redirect: 'manual' }
    if (body !== undefined) init.body = JSON.stringify(body)
    try {
      const response = await keepProcessAlive(() => fetch(url, init))
      const isRedirect = response.type === 'opaqueredirect' || Math.trunc(response.status / 100) === 3
      if (!isRedirect) return response
      last = redirected(api, response.status, response.headers.get('location'))
      await response.body?.cancel()
    } catch (error) {
      last = unreachable(new URL(api).origin, error, isRequest(url, init))
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
  let text = ''
  try {
    text = await readText(response, MAX_ANSWER_BYTES)
    if (response.ok) return text === '' ? undefined : (JSON.parse(text) as unknown)
  } catch (error) {
    if (response.ok) throw noProxy(response, asTunnelError(error, 'client'))
  }
  throw problemOf(text) ?? noProxy(response)
}

/** The public SSH key with which the proxy logs in for whoever has the token. @throws {TunnelError} */
export async function askPublicKey(
  addresses: readonly ProxyAddress[],
  token: TokenProvider,
  timeoutMs: number,
  fetch?: Fetch,
): Promise<string> {
  const answer = await callProxy(addresses, { route: 'ssh/key', token, timeoutMs, fetch })
  const publicKey = (answer as { publicKey?: unknown } | null)?.publicKey
  if (typeof publicKey === 'string') return publicKey
  throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
}

/** No answer of a proxy is longer than a list of a user's thousand machines. */
const MAX_ANSWER_BYTES = 4_194_304

function noProxy({ url, status }: Response, cause?: unknown): TunnelError {
  return new TunnelError('CONNECT_REFUSED', notAProxy(url, status), { cause, hop: 'proxy' })
}

function isRequest(url: string, init: RequestInit): boolean {
  try {
    return new Request(url, init) !== undefined
  } catch {
    return false
  }
}

/** @param isRequest it could be made; what is wrong otherwise is wrong on this side */
function unreachable(origin: string, thrown: unknown, isRequest: boolean): TunnelError {
  const isUntold = thrown instanceof TypeError && thrown.cause === undefined
  if (isUntold && !isRequest) {
    const message = `the request to ${origin} could not be made`
    return new TunnelError('INTERNAL', message, { cause: thrown, hop: 'client' })
  }
  // A browser does not tell a network that is down from a proxy that takes no request of the page.
  if (isUntold) {
    const message = `no answer from the proxy at ${origin}, or it takes no pages of this origin (server.origins)`
    return new TunnelError('CONNECT_REFUSED', message, { cause: thrown, hop: 'proxy' })
  }
  return connectionFailure(new URL(origin).host, thrown)
}
