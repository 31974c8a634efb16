import { type Clock, systemClock } from '../clock.ts'
import { TunnelError } from '../codec/errors.ts'
import { SUBPROTOCOL } from '../codec/hello.ts'
import type { Reach } from '../options.ts'
import { connectionFailure } from './connection-failure.ts'
import { redirected, refusalOf } from './dial-failure.ts'
import { HttpTransport } from './http-transport.ts'
import { SESSION_HEADER } from './http-uplink.ts'
import { readText } from './read-text.ts'
import { BUSY_FACTOR, type Dial, type Fetch, MAX_REFUSAL_BYTES } from './transport.ts'

/** Says which protocol is wanted, where a WebSocket would have its subprotocol. */
export const PROTOCOL_HEADER = 'tunnel-protocol'
/** What an answer that is a link is of. */
export const STREAM_TYPE = 'application/octet-stream'

/** Requests to one address, over connections that `close` ends. */
export interface Requests {
  fetch: Fetch
  close(): void
}

/** @param connected somebody has taken the connection; need not be called */
export type OpenRequests = (url: string, reach: Reach | undefined, connected: () => void) => Promise<Requests>

/**
 * Dials a link over HTTP streaming; needs nothing but `fetch`.
 * Its errors are those of a WebSocket's dial, and TIMEOUT also where an intermediary holds back what the proxy sends.
 */
export function httpDial(open: OpenRequests, clock: Clock = systemClock): Dial {
  return async (url, { headers, timeoutMs, maxFrameBytes, signal, reach }) => {
    const address = `${url.replace(/^ws/, 'http')}/stream`
    const { host } = new URL(address)
    const abort = new AbortController()
    const onAbort = (): void => abort.abort(aborted())
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    let late: unknown
    let hasAnswered = false
    const wait = (ms: number): void => {
      clock.clearTimer(late)
      late = clock.setTimer(() => abort.abort(tooLate(host, ms, hasAnswered)), ms)
    }
    wait(timeoutMs)
    let requests: Requests | undefined
    try {
      const opened = await open(address, reach, () => wait(BUSY_FACTOR * timeoutMs))
      requests = opened
      const { fetch } = opened
      const asked = { ...headers, accept: STREAM_TYPE, [PROTOCOL_HEADER]: SUBPROTOCOL }
      const init: RequestInit = { method: 'POST', headers: asked, signal: abort.signal, redirect: 'manual' }
      const response = await fetch(address, init)
      const session = response.headers.get(SESSION_HEADER)
      const isLink = response.headers.get('content-type') === STREAM_TYPE && response.body !== null
      if (response.status !== 200 || session === null || !isLink) throw await refusal(address, response)
      hasAnswered = true
      const down = response.body!.getReader()
      // Something has to come through before anybody relies on it.
      const { value, done } = await down.read()
      if (done) throw new TunnelError('LINK_LOST', `${host} ended the link at once`, { hop: 'proxy' })
      return new HttpTransport({
        uplink: `${address}/up`,
        headers: { ...headers, [SESSION_HEADER]: session },
        down,
        first: value,
        maxFrameBytes,
        fetch,
        release: () => {
          abort.abort()
          opened.close()
        },
        clock,
      })
    } catch (error) {
      requests?.close()
      abort.abort()
      const { reason } = abort.signal
      throw reason instanceof TunnelError ? reason : connectionFailure(host, error)
    } finally {
      clock.clearTimer(late)
      signal?.removeEventListener('abort', onAbort)
    }
  }
}

async function refusal(address: string, response: Response): Promise<TunnelError> {
  const { status, headers } = response
  if (status >= 300 && status < 400) return redirected(address, status, headers.get('location'))
  // As much of it as there is; its status says the rest.
  const body = await readText(response, MAX_REFUSAL_BYTES).catch(() => '')
  return refusalOf(address, status, body)
}

function aborted(): TunnelError {
  return new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' })
}

function tooLate(host: string, ms: number, hasAnswered: boolean): TunnelError {
  const message = hasAnswered
    ? `what stands between here and ${host} holds back what the proxy sends until it is complete: neither WebSocket nor HTTP streaming passes`
    : `${host} did not answer within ${ms / 1_000} s`
  return new TunnelError('TIMEOUT', message, { hop: 'proxy' })
}
