import { TunnelError } from './errors.ts'
import { MAX_OFFSET } from './frames.ts'

export const STREAM_KINDS = ['ssh', 'tcp', 'http', 'exec'] as const
/** `ssh` is sealed (the proxy relays bytes it cannot read), the others are inspected. */
export type StreamKind = (typeof STREAM_KINDS)[number]

export const PRIORITIES = ['high', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

export type HeaderList = [name: string, value: string][]

export interface HttpRequestHead {
  method: string
  /** Path and query, as in the request line (RFC 9112, section 3.2.1). */
  path: string
  headers: HeaderList
}

export interface HttpResponseHead {
  status: number
  statusText: string
  headers: HeaderList
}

/** The JSON of OPEN. Fields that are not known are kept, so that a newer peer's pass a relay. */
export interface StreamHead {
  /** 128 random bits as 32 hex digits: the stream's name for as long as it lives, on every link. */
  id: string
  kind: StreamKind
  machine: string
  /** `host:port` on the machine's side. Absent for kind `ssh`: the machine's own SSH server. */
  target?: string
  /** The target that the opener named, '' for none, where a proxy passes on another: a resume names this one. */
  asked?: string
  /** @default 'normal' */
  priority?: Priority
  /** W3C Trace Context, section 3.2. */
  traceparent?: string
  /** The opener's receive window in bytes: how far the acceptor may send before the first WINDOW. */
  window: number
  /** Counts the opener's OPEN and RESUME frames of this stream; the highest is the one that holds. @default 0 */
  attempt?: number
  /** The authenticated user; written by the proxy, whatever the opener said. */
  subject?: string
  /** Kind `http`. */
  http?: HttpRequestHead
  /** Kind `exec`: one command line for the user's shell, as `ssh` sends it (RFC 4254, section 6.5). */
  exec?: { command: string }
}

/** The JSON of ACCEPT. */
export interface AcceptHead {
  /** The acceptor's receive window in bytes. */
  window: number
  /** How long the acceptor keeps the stream without a link, in ms. */
  resumeMs?: number
  /** Kind `http`, where the response head is known when the stream is accepted. */
  http?: HttpResponseHead
}

/** The JSON of RESUME. `kind` and `machine` let a proxy that has never seen the stream route it. */
export interface ResumeHead {
  id: string
  kind: StreamKind
  machine: string
  target?: string
  asked?: string
  priority?: Priority
  received: number
  limit: number
  attempt: number
  /** The final offset of the opener's direction, once its END has been sent: so a relay knows when all is over. */
  end?: number
  subject?: string
}

/** The JSON of RESUMED: the acceptor's side of the same. */
export interface ResumedHead {
  received: number
  limit: number
  end?: number
}

/** In order with the data. */
export type StreamEvent =
  | { exit: { code: number } | { signal: string } }
  | { http: HttpResponseHead }
  | { signal: string }

const STREAM_ID = /^[0-9a-f]{32}$/
/** A machine's name: what a host name may be (RFC 1123, section 2.1), so that `ssh NAME` can say it. */
export const MACHINE_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/

const kinds: ReadonlySet<unknown> = new Set(STREAM_KINDS)
const priorities: ReadonlySet<unknown> = new Set(PRIORITIES)

function invalid(what: string): TunnelError {
  return new TunnelError('FRAME_INVALID', what)
}

function offset(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > MAX_OFFSET) {
    throw invalid(`${name} is no offset${typeof value === 'number' ? `: ${value}` : ''}`)
  }
  return value as number
}

function checkAddress(head: Record<string, unknown>): void {
  if (typeof head.id !== 'string' || !STREAM_ID.test(head.id)) throw invalid('id is not 32 hex digits')
  if (!kinds.has(head.kind)) throw invalid(`kind ${JSON.stringify(head.kind)?.slice(0, 40)} is unknown`)
  if (typeof head.machine !== 'string' || head.machine.length === 0 || head.machine.length > 255) {
    throw invalid('machine is not a name')
  }
  if (head.target !== undefined && (typeof head.target !== 'string' || head.target.length > 300)) {
    throw invalid('target is not host:port')
  }
  if (head.asked !== undefined && typeof head.asked !== 'string') throw invalid('asked is no target')
  if (head.priority !== undefined && !priorities.has(head.priority)) throw invalid('priority is unknown')
  if (head.attempt !== undefined) offset(head.attempt, 'attempt')
  if (head.traceparent !== undefined && typeof head.traceparent !== 'string') {
    throw invalid('traceparent is no text')
  }
}

function isHeaderList(value: unknown): value is HeaderList {
  return (
    Array.isArray(value) &&
    value.every(
      (pair: unknown) =>
        Array.isArray(pair) &&
        pair.length === 2 &&
        typeof pair[0] === 'string' &&
        typeof pair[1] === 'string',
    )
  )
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkStreamHead(head: Record<string, unknown>): StreamHead {
  checkAddress(head)
  offset(head.window, 'window')
  if (head.kind === 'http') {
    const http = head.http as Partial<HttpRequestHead> | undefined
    const valid =
      typeof http === 'object' &&
      http !== null &&
      typeof http.method === 'string' &&
      typeof http.path === 'string' &&
      isHeaderList(http.headers)
    if (!valid) throw invalid('http is not {method, path, headers}')
  }
  if (head.kind === 'exec') {
    const exec = head.exec as { command?: unknown } | undefined
    if (typeof exec !== 'object' || exec === null || typeof exec.command !== 'string') {
      throw invalid('exec is not {command}')
    }
  }
  return head as unknown as StreamHead
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkAcceptHead(head: Record<string, unknown>): AcceptHead {
  offset(head.window, 'window')
  if (head.resumeMs !== undefined) offset(head.resumeMs, 'resumeMs')
  if (head.http !== undefined && !isHttpResponseHead(head.http)) throw invalid('http is no response head')
  return head as unknown as AcceptHead
}

function isHttpResponseHead(value: unknown): boolean {
  const { status, statusText, headers } = (value ?? {}) as Partial<HttpResponseHead>
  return (
    Number.isSafeInteger(status) &&
    (status as number) >= 100 &&
    (status as number) <= 999 &&
    typeof statusText === 'string' &&
    isHeaderList(headers)
  )
}

/** An event of a kind that is not known passes. @throws {TunnelError} FRAME_INVALID */
export function checkEvent(body: Record<string, unknown>): StreamEvent {
  const { exit, signal, http } = body
  if (exit !== undefined) {
    const { code, signal: by } = (exit ?? {}) as { code?: unknown; signal?: unknown }
    if (!Number.isSafeInteger(code) && typeof by !== 'string') throw invalid('exit is no code and no signal')
  }
  if (signal !== undefined && typeof signal !== 'string') throw invalid('signal is no name')
  if (http !== undefined && !isHttpResponseHead(http)) throw invalid('http is no response head')
  return body as unknown as StreamEvent
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkResumeHead(head: Record<string, unknown>): ResumeHead {
  checkAddress(head)
  offset(head.received, 'received')
  offset(head.limit, 'limit')
  offset(head.attempt, 'attempt')
  if (head.end !== undefined) offset(head.end, 'end')
  return head as unknown as ResumeHead
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkResumed(body: Record<string, unknown>): ResumedHead {
  offset(body.received, 'received')
  offset(body.limit, 'limit')
  if (body.end !== undefined) offset(body.end, 'end')
  return body as unknown as ResumedHead
}
