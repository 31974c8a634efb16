import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, Priority } from '../protocol/codec/heads.ts'
import { FIELD_VALUE } from '../protocol/codec/http-rules.ts'
import { machineOfHostName } from '../protocol/codec/machine-host.ts'
import { checkAsked } from './asked.ts'
import { headerList, withIdempotencyKey } from './headers.ts'
import { MAX_RIDING_BYTES } from './opening.ts'
import { loaded } from './part.ts'
import type { HttpHop } from './redirect.ts'
import type { HttpAnswer, HttpRequest, RequestPath } from './request.ts'
import { sendRequest } from './sending.ts'
import { targetOf } from './target.ts'
import { type BodyLike, inMemory, isBlob } from './upload.ts'

/** `fetch`'s own, and what a tunnel adds. */
export type FetchInit = Omit<RequestInit, 'priority'> & {
  /** @default 'normal' */
  priority?: Priority
  /** May be sent again when its outcome is unknown. @default what RFC 9110 says of the method */
  idempotent?: boolean
  /**
   * Until the response head is there, in ms; the time in which the body moves does not count.
   * @default settings.request.timeoutMs
   */
  timeoutMs?: number
  /**
   * `host:port` on the machine's side, such as `[::1]:8080`, where the service does not listen on 127.0.0.1. The URL is
   * still what the service is asked for.
   */
  target?: string
}

/** As browsers and undici: the Fetch standard, section 4.4. */
const MAX_REDIRECTS = 20
/** The Fetch standard, section 2.2.6. */
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** The Fetch standard, section 2.2.3. */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([101, 103, 204, 205, 304])

/**
 * `fetch('http://MACHINE:PORT/path')`: the same as the global one, through the tunnel. As there, an abort rejects with the
 * signal's reason, and what no Request can be made of with a TypeError; everything else with a TunnelError. Bodies come as they were sent, with their
 * content-encoding. docs/API.md has every difference.
 */
export async function tunnelFetch(
  path: RequestPath,
  defaultTimeoutMs: number,
  input: string | URL | Request,
  init: FetchInit = {},
): Promise<Response> {
  const { priority, idempotent, timeoutMs = defaultTimeoutMs, target, ...standard } = init
  if (standard.body instanceof FormData) {
    const { formBlob } = await loaded(import('./form-data.ts'))
    standard.body = formBlob(standard.body)
  }
  const request = new Request(input, { ...standard, duplex: 'half' } as RequestInit)
  // Not the request's own, which follows it at a price.
  const signal = signalOf(input, standard)
  signal?.throwIfAborted()
  const first = new URL(request.url)
  let hop: HttpHop = {
    url: first,
    method: request.method,
    headers: withIdempotencyKey(headerList(request.headers), request.method, idempotent),
    body: await bodyOf(request, standard.body),
  }
  try {
    for (let redirects = 0; ; redirects++) {
      const wire: HttpRequest = {
        ...addressOf(hop.url, target, first.port),
        method: hop.method,
        headers: hop.headers,
        body: hop.body,
        priority,
        idempotent,
        signal,
        timeoutMs,
      }
      checkAsked(wire)
      const answer = await sendRequest(path, wire, (head) => head)
      const next = request.redirect === 'manual' ? undefined : await nextHop(hop, answer)
      if (next === undefined) {
        const response = responseOf(answer, hop, redirects > 0, signal)
        return request.integrity === '' ? response : await intact(response, request.integrity)
      }
      answer.reset(new TunnelError('ABORTED', 'redirected', { hop: 'client' }))
      if (request.redirect === 'error' || redirects >= MAX_REDIRECTS) {
        throw new TunnelError('ABORTED', `redirected to ${next.url.href}, which was not wanted`, {
          hop: 'client',
        })
      }
      hop = next
    }
  } catch (error) {
    throw signal?.aborted ? signal.reason : error
  }
}

function signalOf(input: string | URL | Request, { signal }: RequestInit): AbortSignal | undefined {
  if (signal === undefined && input instanceof Request) return input.signal
  return signal ?? undefined
}

/** A body in memory stays bytes, and a Blob a Blob, so that they have a length and can be sent again; any other is a stream. */
async function bodyOf(request: Request, given: RequestInit['body']): Promise<BodyLike | undefined> {
  if (request.body === null) return undefined
  if (isBlob(given)) return given.size <= MAX_RIDING_BYTES ? new Uint8Array(await given.arrayBuffer()) : given
  if (given instanceof URLSearchParams) return String(given)
  // What its caller does with the buffer from now on is not to be sent.
  const bytes = inMemory(given)
  // Anything that is no source of bytes is the string of it (Web IDL).
  if (bytes === undefined) return isSource(given) ? (request.body as BodyLike) : String(given)
  return typeof given === 'string' ? bytes : bytes.slice()
}

function isSource(given: unknown): boolean {
  return given === undefined || given instanceof ReadableStream || Symbol.asyncIterator in Object(given)
}

/** A redirect to another port leads there on the same address. */
function addressOf(
  url: URL,
  asked: string | undefined,
  firstPort: string,
): { machine: string; target: string; path: string } {
  if (url.protocol !== 'http:') {
    throw new TunnelError('CONFIG_INVALID', `${url.protocol}// does not go through a tunnel: use http://`, {
      hop: 'client',
    })
  }
  const port = url.port === '' ? undefined : Number(url.port)
  const elsewhere = asked !== undefined && url.port !== firstPort
  const target = elsewhere ? `${asked.slice(0, asked.lastIndexOf(':'))}:${port ?? 80}` : asked
  return {
    machine: machineOfHostName(url.hostname),
    target: targetOf(port, target),
    path: url.pathname + url.search,
  }
}

/** Where an answer sends the client; undefined where it is the caller's. */
async function nextHop(hop: HttpHop, { head, reset }: HttpAnswer): Promise<HttpHop | undefined> {
  if (!REDIRECTS.has(head.status)) return undefined
  try {
    const { redirected } = await loaded(import('./redirect.ts'))
    return redirected(hop, head)
  } catch (error) {
    reset(error as TunnelError)
    throw error
  }
}

function responseOf(
  answer: HttpAnswer,
  { url, method }: HttpHop,
  wasRedirected: boolean,
  signal?: AbortSignal,
): Response {
  const { status, statusText, headers } = answer.head
  const empty = method === 'HEAD' || NULL_BODY_STATUSES.has(status)
  if (empty) answer.body.discard()
  try {
    const body = empty ? null : readableOf(answer, signal)
    // What a Response does not take is no reason to lose the answer: a status above 599, and any phrase at all.
    const known = status <= 599
    // A Response takes no other as its statusText.
    const phrase = FIELD_VALUE.test(statusText) ? statusText : ''
    const response = new Response(body, {
      status: known ? status : 500,
      statusText: phrase,
      headers: new Headers(headers as HeaderList),
    })
    const fragmentless = url.href.split('#', 1)[0] as string
    Object.defineProperties(response, { url: { value: fragmentless }, redirected: { value: wasRedirected } })
    if (!known) Object.defineProperty(response, 'status', { value: status })
    return response
  } catch (error) {
    const invalid = new TunnelError('CHANNEL_OPEN_FAILED', 'the answer is not HTTP', {
      cause: error,
      hop: 'target',
    })
    answer.reset(invalid)
    throw invalid
  }
}

/** The response again, once its whole body has been read and found to be what was asked for. */
async function intact(response: Response, integrity: string): Promise<Response> {
  const bytes = new Uint8Array(await response.arrayBuffer())
  const { checkIntegrity } = await loaded(import('./integrity.ts'))
  await checkIntegrity(integrity, bytes)
  const { status, statusText, headers, url, redirected } = response
  const checked = new Response(response.body === null ? null : bytes, { statusText, headers })
  for (const [name, value] of Object.entries({ status, url, redirected, ok: response.ok }))
    Object.defineProperty(checked, name, { value })
  return checked
}

/** A body that is unread when it is collected as garbage gives its stream and its channel back. */
const forgotten = new FinalizationRegistry<HttpAnswer['reset']>((reset) =>
  reset(new TunnelError('ABORTED', 'the body was given up without being read', { hop: 'client' })),
)

/**
 * Chromium drops the JavaScript object of a platform's object that is still in use, as long as a program has changed
 * nothing of it, and makes another when it is asked for: a registry then hears of an end that is none.
 */
const IS_IN_USE = Symbol('its object stays the same')

/** Nothing is taken from the stream before somebody reads: the reader's pace is the sender's. */
function readableOf(answer: HttpAnswer, signal?: AbortSignal): ReadableStream<Uint8Array> {
  const readable = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          // An abort counts up to the last byte that is read, though all of them may be here.
          signal?.throwIfAborted()
          const chunk = await answer.body.read()
          signal?.throwIfAborted()
          if (chunk !== undefined) return controller.enqueue(chunk)
          forgotten.unregister(answer)
          controller.close()
        } catch (error) {
          controller.error(signal?.aborted ? signal.reason : error)
        }
      },
      cancel(reason) {
        answer.reset(asTunnelError(reason ?? 'the body was cancelled', 'client', 'ABORTED'))
      },
    },
    { highWaterMark: 0 },
  )
  Object.defineProperty(readable, IS_IN_USE, { value: true })
  forgotten.register(readable, answer.reset, answer)
  return readable
}
