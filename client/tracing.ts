import type { Span, TracerProvider } from '@opentelemetry/api'
import { asTunnelError, isFault } from '../protocol/codec/errors.ts'
import type { StreamKind } from '../protocol/codec/heads.ts'
import { writeTraceparent } from '../protocol/codec/traceparent.ts'
import type { FetchInit } from './fetch.ts'
import type { ForwardRequest } from './forward-request.ts'
import { headerList } from './headers.ts'

/** Where @opentelemetry/api 1 keeps what the program has registered, of whatever version and copy it is. */
const REGISTERED = Symbol.for('opentelemetry.js.api.1')
const NAME = 'ssh-websocket-tunnel/client'
const HEADER = 'traceparent'
/** As @opentelemetry/api numbers them, which is not loaded here. */
const CLIENT_KIND = 2
const ERROR_STATUS = 2
const SAMPLED = 1

/** What the span of a stream says. */
interface Asked {
  kind: StreamKind
  machine?: string
}

function begin({ kind, machine }: Asked): Span | undefined {
  const registered = (globalThis as { [REGISTERED]?: { trace?: TracerProvider } })[REGISTERED]
  const attributes = { kind, ...(machine !== undefined && { machine }) }
  return registered?.trace?.getTracer(NAME).startSpan(`tunnel ${kind}`, { kind: CLIENT_KIND, attributes })
}

/** Undefined where the program traces nothing. */
function traceparentOf(span: Span): string | undefined {
  const { traceId, spanId, traceFlags } = span.spanContext()
  const isValid = /[^0]/.test(traceId) && /[^0]/.test(spanId)
  return isValid ? writeTraceparent({ traceId, spanId, isSampled: (traceFlags & SAMPLED) !== 0 }) : undefined
}

/**
 * Does `work` as a span of the program's own trace, where that has an OpenTelemetry SDK; `work` is given what to tell the
 * proxy, which goes on with the trace. Nothing is loaded for it. The span ends when `work` does: with a response's head, with
 * a stream that is open, with a command's exit.
 */
export async function traced<T>(
  asked: Asked,
  work: (traceparent: string | undefined) => Promise<T>,
): Promise<T> {
  const span = begin(asked)
  if (span === undefined) return work(undefined)
  try {
    const done = await work(traceparentOf(span))
    span.setAttribute('outcome', 'ok')
    return done
  } catch (error) {
    const failure = asTunnelError(error, 'client')
    span.setAttribute('outcome', failure.code)
    if (isFault(failure)) span.setStatus({ code: ERROR_STATUS, message: failure.message })
    throw error
  } finally {
    span.end()
  }
}

/** The request as a part of the program's trace; one that names its trace itself is left as it is. */
export function tracedRequest<T>(
  request: ForwardRequest,
  send: (request: ForwardRequest) => Promise<T>,
): Promise<T> {
  return traced({ kind: 'http', machine: request.machine }, async (traceparent) => {
    if (traceparent === undefined) return send(request)
    const headers = headerList(request.headers)
    if (headers.some(([name]) => name.toLowerCase() === HEADER)) return send(request)
    return send({ ...request, headers: [...headers, [HEADER, traceparent]] })
  })
}

type Fetch = (input: string | URL | Request, init?: FetchInit) => Promise<Response>

/** The same for `fetch`. */
export function tracedFetch(fetch: Fetch): Fetch {
  return (input, init) =>
    traced({ kind: 'http' }, async (traceparent) => {
      if (traceparent === undefined) return fetch(input, init)
      const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
      if (!headers.has(HEADER)) headers.set(HEADER, traceparent)
      return fetch(input, { ...init, headers })
    })
}
