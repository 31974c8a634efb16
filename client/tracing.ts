import type { Span, TracerProvider } from '@opentelemetry/api'
import { asTunnelError, isFault } from '../protocol/codec/errors.ts'
import type { StreamKind } from '../protocol/codec/heads.ts'
import {
  type GivenTrace,
  readTraceContext,
  type TraceContext,
  writeTraceparent,
} from '../protocol/codec/trace-context.ts'
import type { FetchInit } from './fetch.ts'
import type { ForwardRequest } from './forward-request.ts'
import { headerList } from './headers.ts'

/** Where @opentelemetry/api 1 keeps what the program has registered, of whatever version and copy it is. */
const REGISTERED = Symbol.for('opentelemetry.js.api.1')
const NAME = 'ssh-websocket-tunnel/client'
const HEADER = 'traceparent'
const STATE_HEADER = 'tracestate'
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
  if (registered === undefined) return undefined
  const attributes = { kind, ...(machine !== undefined && { machine }) }
  return registered.trace?.getTracer(NAME).startSpan(`tunnel ${kind}`, { kind: CLIENT_KIND, attributes })
}

/** Nothing where the program traces nothing. */
function contextOf(span: Span): TraceContext {
  const { traceId, spanId, traceFlags, traceState } = span.spanContext()
  const isValid = /[^0]/.test(traceId) && /[^0]/.test(spanId)
  if (!isValid) return {}
  const traceparent = writeTraceparent({ traceId, spanId, isSampled: (traceFlags & SAMPLED) !== 0 })
  return readTraceContext({ traceparent, tracestate: traceState?.serialize() })
}

/** Whose work something is (W3C Trace Context). */
export interface TraceOptions extends GivenTrace {
  /** @default that of the program's OpenTelemetry span, where there is one */
  readonly traceparent?: string | undefined
  /** What goes with that `traceparent`. */
  readonly tracestate?: string | undefined
}

/** Options that do not name the trace themselves, with the program's. */
export function inTrace<Options extends TraceOptions>(trace: TraceContext, options: Options): Options {
  return options.traceparent === undefined ? { ...options, ...trace } : options
}

/**
 * Does `work` as a span of the program's own trace, where that has an OpenTelemetry SDK; `work` is given what to tell the
 * proxy, which goes on with the trace. Nothing is loaded for it. The span ends when `work` does: with a response's head, with
 * a stream that is open, with a command's exit.
 */
export function traced<T>(asked: Asked, work: (trace: TraceContext) => Promise<T>): Promise<T> {
  const span = begin(asked)
  return span === undefined ? work({}) : inSpan(span, work)
}

async function inSpan<T>(span: Span, work: (trace: TraceContext) => Promise<T>): Promise<T> {
  try {
    const done = await work(contextOf(span))
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
  return traced({ kind: 'http', machine: request.machine }, async (trace) => {
    if (trace.traceparent === undefined) return send(request)
    const headers = headerList(request.headers)
    if (headers.some(([name]) => name.toLowerCase() === HEADER)) return send(request)
    const others = headers.filter(([name]) => name.toLowerCase() !== STATE_HEADER)
    return send({ ...request, headers: [...others, ...Object.entries(trace)] })
  })
}

type Fetch = (input: string | URL | Request, init?: FetchInit) => Promise<Response>

/** The same for `fetch`. */
export function tracedFetch(fetch: Fetch): Fetch {
  return (input, init) =>
    traced({ kind: 'http' }, async (trace) => {
      if (trace.traceparent === undefined) return fetch(input, init)
      const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined))
      if (!headers.has(HEADER)) {
        headers.delete(STATE_HEADER)
        for (const [name, value] of Object.entries(trace)) headers.set(name, value)
      }
      return fetch(input, { ...init, headers })
    })
}
