import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, Priority } from '../protocol/codec/heads.ts'
import { headerList } from './headers.ts'
import { targetOf } from './http.ts'
import { MAX_REDIRECTS, redirected } from './redirect.ts'
import { type HttpAnswer, type RequestPath, sendRequest } from './request.ts'
import type { BodyLike } from './upload.ts'

/** `fetch`'s own, and what a tunnel adds. */
export type FetchInit = Omit<RequestInit, 'priority'> & {
  /** @default 'normal' */
  priority?: Priority
  /** May be sent again when its outcome is unknown. @default what RFC 9110 says of the method */
  idempotent?: boolean
  /** Until the response head is there. @default settings.request.timeoutMs */
  timeoutMs?: number
}

/** The Fetch standard, section 2.2.3. */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([101, 103, 204, 205, 304])

/**
 * `fetch('http://MACHINE:PORT/path')`: the same as the global one, through the tunnel. An abort rejects with the
 * signal's reason, as there; everything else with a TunnelError. Bodies come as they were sent, with their
 * content-encoding.
 */
export async function tunnelFetch(
  path: RequestPath,
  defaultTimeoutMs: number,
  input: string | URL | Request,
  init: FetchInit = {},
): Promise<Response> {
  const { priority, idempotent, timeoutMs = defaultTimeoutMs, ...standard } = init
  const request = new Request(input, { ...standard, duplex: 'half' } as RequestInit)
  // Not the request's own, which follows it at a price.
  const signal = signalOf(input, standard)
  let hop = {
    url: new URL(request.url),
    method: request.method,
    headers: headerList(request.headers),
    body: await bodyOf(request, standard.body),
  }
  try {
    for (let redirects = 0; ; redirects++) {
      const answer = await sendRequest(path, {
        ...addressOf(hop.url),
        method: hop.method,
        headers: hop.headers,
        body: hop.body,
        priority,
        idempotent,
        signal,
        timeoutMs,
      })
      const next = request.redirect === 'manual' ? undefined : redirected(hop, answer.head)
      if (next === undefined) return responseOf(answer, hop.url, redirects > 0, signal)
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

/** A body in memory stays bytes, so that it can be sent again; any other is a stream. */
async function bodyOf(request: Request, given: RequestInit['body']): Promise<BodyLike | undefined> {
  if (request.body === null) return undefined
  const inMemory =
    typeof given === 'string' ||
    given instanceof URLSearchParams ||
    given instanceof ArrayBuffer ||
    ArrayBuffer.isView(given)
  return inMemory ? new Uint8Array(await request.arrayBuffer()) : (request.body as BodyLike)
}

function addressOf(url: URL): { machine: string; target: string; path: string } {
  if (url.protocol !== 'http:') {
    throw new TunnelError('CONFIG_INVALID', `${url.protocol}//: a tunnel speaks http:// to a machine`, {
      hop: 'client',
    })
  }
  const port = url.port === '' ? undefined : Number(url.port)
  return { machine: url.hostname, target: targetOf(port, undefined), path: url.pathname + url.search }
}

function responseOf(answer: HttpAnswer, url: URL, wasRedirected: boolean, signal?: AbortSignal): Response {
  const { status, statusText, headers } = answer.head
  const empty = NULL_BODY_STATUSES.has(status)
  if (empty) answer.body.discard()
  try {
    const body = empty ? null : readableOf(answer, signal)
    const response = new Response(body, { status, statusText, headers: new Headers(headers as HeaderList) })
    const fragmentless = url.href.split('#', 1)[0] as string
    Object.defineProperties(response, { url: { value: fragmentless }, redirected: { value: wasRedirected } })
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

/** Nothing is taken from the stream before somebody reads: the reader's pace is the sender's. */
function readableOf(answer: HttpAnswer, signal?: AbortSignal): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const chunk = await answer.body.read()
          if (chunk === undefined) controller.close()
          else controller.enqueue(chunk)
        } catch (error) {
          controller.error(signal?.aborted ? signal.reason : error)
        }
      },
      cancel(reason) {
        answer.reset(asTunnelError(reason ?? 'the body was cancelled', 'ABORTED', 'client'))
      },
    },
    { highWaterMark: 0 },
  )
}
