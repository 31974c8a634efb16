import { systemClock } from '../protocol/clock.ts'
import { asTunnelError, MAX_TIMER_MS, TunnelError } from '../protocol/codec/errors.ts'
import { connectionFailure } from '../protocol/link/connection-failure.ts'
import { notAProxy, problemOf, redirected } from '../protocol/link/dial-failure.ts'
import { readText } from '../protocol/link/read-text.ts'
import type { Fetch } from '../protocol/link/transport.ts'
import type { ProxyAddress } from './addresses.ts'
import { keepProcessAlive } from './keep-process-alive.ts'
import { type Attempt, firstAnswer } from './staggered.ts'
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
  /** The next address is asked when one has failed, and not before. @default for every method but GET */
  oneByOne?: boolean
  /** Ends it, with ABORTED. */
  signal?: AbortSignal | undefined
}

/**
 * A route's answer, whatever its status, from the first address that answers.
 * @throws {TunnelError} TOKEN_MISSING, TIMEOUT, DNS_FAILED, CONNECT_REFUSED, CERTIFICATE_…, TLS_FAILED, HTTP_PROXY_…
 */
export async function fetchFromProxy(
  addresses: readonly ProxyAddress[],
  {
    route,
    method = 'GET',
    token,
    body,
    timeoutMs,
    oneByOne = method !== 'GET',
    fetch = globalThis.fetch,
    signal,
  }: ProxyRequest,
): Promise<Response> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (token !== undefined) headers.authorization = `Bearer ${await askToken(token)}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  const ask = async ({ api }: ProxyAddress, attempt: Attempt): Promise<Response> => {
    // What changes something is done once.
    if (!oneByOne) attempt.asked()
    const init: RequestInit = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) }
    return askOne(api, `${api}/${route}`, init, { fetch, timeoutMs, signal: attempt.signal })
  }
  return firstAnswer({
    count: addresses.length,
    attempt: (place, attempt) => ask(addresses[place] as ProxyAddress, attempt),
    discard: (late) => void forgo(late).catch(() => {}),
    isFinal: ({ hop }) => hop === 'client',
    clock: systemClock,
    signal,
  })
}

interface How {
  fetch: Fetch
  timeoutMs: number
  signal: AbortSignal
}

async function askOne(api: string, url: string, request: RequestInit, how: How): Promise<Response> {
  // A browser's own takes no other `this`.
  const { fetch } = how
  const { signal, timer } = endedBy(how)
  // A token goes nowhere but where it was meant to.
  const init: RequestInit = { ...request, signal, redirect: 'manual' }
  let response: Response
  try {
    response = await keepProcessAlive(() => fetch(url, init))
    timers.set(response, timer)
  } catch (error) {
    systemClock.clearTimer(timer)
    if (how.signal.aborted) throw new TunnelError('ABORTED', 'the request was called off', { hop: 'client' })
    throw unreachable(new URL(api).origin, error, isRequest(url, init))
  }
  const isRedirect = response.type === 'opaqueredirect' || Math.trunc(response.status / 100) === 3
  if (!isRedirect) return response
  await forgo(response)
  throw redirected(api, response.status, response.headers.get('location'))
}

/** Of each answer, until it has been read. */
const timers = new WeakMap<Response, unknown>()

/** Nobody reads the answer. */
async function forgo(response: Response): Promise<void> {
  systemClock.clearTimer(timers.get(response))
  await response.body?.cancel()
}

/** Ends the request and its answer: with the attempt, and when their time is over. */
function endedBy({ signal, timeoutMs }: How): { signal: AbortSignal; timer: unknown } {
  const end = new AbortController()
  const late = () => end.abort(new DOMException('there was no answer in time', 'TimeoutError'))
  const timer = systemClock.setTimer(late, Math.min(timeoutMs, MAX_TIMER_MS))
  signal.addEventListener('abort', () => end.abort(signal.reason), { once: true })
  if (signal.aborted) end.abort(signal.reason)
  return { signal: end.signal, timer }
}

/** The same, as JSON. @throws {TunnelError} also what the proxy's problem document (RFC 9457) says */
export async function callProxy(
  addresses: readonly ProxyAddress[],
  question: ProxyRequest,
): Promise<unknown> {
  return answerOf(await fetchFromProxy(addresses, question))
}

/** What a route has answered. @throws {TunnelError} as `callProxy` */
export async function answerOf(response: Response): Promise<unknown> {
  let text = ''
  try {
    text = await readText(response, MAX_ANSWER_BYTES)
    if (response.ok) return text === '' ? undefined : (JSON.parse(text) as unknown)
  } catch (error) {
    if (response.ok) throw noProxy(response, asTunnelError(error, 'client'))
  } finally {
    systemClock.clearTimer(timers.get(response))
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
