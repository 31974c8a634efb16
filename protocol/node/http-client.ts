import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { Readable } from 'node:stream'
import type { Fetch } from '../link/transport.ts'
import type { Reach } from '../options.ts'
import { proxyRefusal } from './http-proxy.ts'
import { WayOut } from './way-out.ts'

/** Chunks of an answer that wait for their reader. */
const AHEAD = new CountQueuingStrategy({ highWaterMark: 1 })
/** Statuses whose answer has no body (RFC 9110, section 6.4.1). */
const BODILESS: ReadonlySet<number> = new Set([204, 205, 304])
/** How long a connection is kept for the next request, in ms: less than a server usually keeps it. */
const IDLE_MS = 4_000

/** Requests of routes, each on a connection of its own. Gives out what `fetch` does, and follows no redirect. */
export function fetchBy(reach: Reach | undefined): Fetch {
  return async (url, init = {}) => {
    const wayOut = await WayOut.to(url, reach)
    const signal = init.signal ?? new AbortController().signal
    return exchange(wayOut, url, init, {
      createConnection: WayOut.joined(() => wayOut.openFirst({ signal })) as never,
    })
  }
}

/** The same for many requests to one address, over connections that are kept until `close`. */
export class HttpClient {
  readonly #wayOut: WayOut
  readonly #agent = new Agent({ keepAlive: true, timeout: 0 })
  readonly #closing = new AbortController()

  /** @throws {TunnelError} CONFIG_INVALID */
  static async to(url: string, reach: Reach | undefined, connected: () => void): Promise<HttpClient> {
    return new HttpClient(await WayOut.to(url, reach), connected)
  }

  private constructor(wayOut: WayOut, connected: () => void) {
    this.#wayOut = wayOut
    const attempt = { signal: this.#closing.signal, connected }
    Object.assign(this.#agent, { createConnection: WayOut.joined(() => wayOut.openFirst(attempt)) })
    this.#agent.on('free', (socket) => socket.setTimeout(IDLE_MS))
  }

  readonly fetch: Fetch = (url, init = {}) => exchange(this.#wayOut, url, init, { agent: this.#agent })

  /** Ends every connection, and what is asked on it. */
  close(): void {
    this.#closing.abort()
    this.#agent.destroy()
  }
}

type By = Pick<RequestOptions, 'agent' | 'createConnection'>

function exchange(wayOut: WayOut, url: string, init: RequestInit, by: By): Promise<Response> {
  const { host, hostname, port, pathname, search } = new URL(url)
  const { absolute } = wayOut
  const body = init.body as string | Uint8Array | null | undefined
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      ...by,
      host: hostname,
      port,
      method: init.method ?? 'GET',
      path: `${absolute?.origin ?? ''}${pathname}${search}`,
      headers: {
        ...(init.headers as Record<string, string> | undefined),
        host,
        ...(body == null ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
        ...absolute?.headers,
      },
      ...(init.signal ? { signal: init.signal } : {}),
    })
    request.setNoDelay(true)
    request.once('error', reject)
    request.once('response', (response) => {
      if (response.statusCode === 407 && wayOut.proxy !== undefined) {
        response.destroy()
        return reject(proxyRefusal(wayOut.proxy, 407, url))
      }
      // What breaks off after this is told to whoever reads the answer.
      request.off('error', reject).on('error', () => {})
      resolve(responseOf(url, response))
    })
    request.end(body ?? undefined)
  })
}

function responseOf(url: string, message: IncomingMessage): Response {
  const status = message.statusCode ?? 0
  const headers = new Headers()
  for (let at = 0; at < message.rawHeaders.length; at += 2) {
    headers.append(message.rawHeaders[at] as string, message.rawHeaders[at + 1] as string)
  }
  if (BODILESS.has(status)) message.resume()
  const body = BODILESS.has(status) ? null : Readable.toWeb(message, { strategy: AHEAD })
  const response = new Response(body as ReadableStream<Uint8Array> | null, { status, headers })
  return Object.defineProperty(response, 'url', { value: url })
}
