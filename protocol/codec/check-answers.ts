import { TunnelError } from './errors.ts'
import { MAX_OFFSET } from './frames.ts'
import {
  type AcceptHead,
  type HeaderList,
  type HttpResponseHead,
  isTerminalLength,
  type ResumedHead,
  type StreamEvent,
  type TerminalSize,
} from './heads.ts'

// What comes on a stream that is open. Whatever is kept of a peer's JSON is made here, from fields that are checked.

type Json = Record<string, unknown>

export function invalid(what: string): TunnelError {
  return new TunnelError('FRAME_INVALID', what, { hop: 'link' })
}

export function offset(value: unknown, name: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > MAX_OFFSET) {
    throw invalid(`${name} is not a valid offset${typeof value === 'number' ? `: ${value}` : ''}`)
  }
  return value as number
}

export function isHeaderList(value: unknown): value is HeaderList {
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

function responseHead(value: unknown): HttpResponseHead {
  const { status, statusText, headers } = (value ?? {}) as Partial<HttpResponseHead>
  const isStatus = Number.isSafeInteger(status) && (status as number) >= 100 && (status as number) <= 999
  if (!isStatus || typeof statusText !== 'string' || !isHeaderList(headers)) {
    throw invalid('http is not {status, statusText, headers}')
  }
  return { status: status as number, statusText, headers }
}

export function terminalSize(value: unknown, name: string): TerminalSize {
  const { columns, rows } = (value ?? {}) as Partial<TerminalSize>
  if (!isTerminalLength(columns) || !isTerminalLength(rows)) throw invalid(`${name} is not {columns, rows}`)
  return { columns, rows }
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkAcceptHead(json: Json): AcceptHead {
  const head: AcceptHead = { window: offset(json.window, 'window') }
  if (json.resumeMs !== undefined) head.resumeMs = offset(json.resumeMs, 'resumeMs')
  if (json.http !== undefined) head.http = responseHead(json.http)
  return head
}

/** Undefined for an event of a kind that is not known. @throws {TunnelError} FRAME_INVALID */
export function checkEvent({ exit, signal, http, resize }: Json): StreamEvent | undefined {
  if (exit !== undefined) {
    const { code, signal: by } = (exit ?? {}) as { code?: unknown; signal?: unknown }
    if (Number.isSafeInteger(code)) return { exit: { code: code as number } }
    if (typeof by === 'string') return { exit: { signal: by } }
    throw invalid('exit is neither a code nor a signal')
  }
  if (http !== undefined) return { http: responseHead(http) }
  if (resize !== undefined) return { resize: terminalSize(resize, 'resize') }
  if (signal === undefined) return undefined
  if (typeof signal !== 'string') throw invalid('signal is not a name')
  return { signal }
}

/** @throws {TunnelError} FRAME_INVALID */
export function checkResumed(json: Json): ResumedHead {
  const head: ResumedHead = {
    received: offset(json.received, 'received'),
    limit: offset(json.limit, 'limit'),
  }
  if (json.end !== undefined) head.end = offset(json.end, 'end')
  return head
}
