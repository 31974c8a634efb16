import type { Priority } from '../protocol/codec/heads.ts'
import { checkAsked } from './asked.ts'
import { type HeadersLike, headerList, withIdempotencyKey } from './headers.ts'
import { configInvalid } from './queue/errors.ts'
import type { HttpRequest } from './request.ts'
import { targetOf } from './target.ts'
import { type BodyLike, isBody } from './upload.ts'

/** A request whose answer is wanted whole, in memory. */
export interface ForwardRequest {
  machine: string
  /** On the machine itself: 127.0.0.1. @default 80 */
  port?: number
  /** `host:port` on the machine's side, where it is not the machine itself. */
  target?: string
  /** @default 'GET' */
  method?: string
  /** Path and query. @default '/' */
  path?: string
  headers?: HeadersLike
  /** Bytes in memory are not copied: leave them as they are until the request is over. */
  body?: BodyLike
  /** @default 'normal' */
  priority?: Priority
  /** May be sent again when its outcome is unknown. @default what RFC 9110 says of the method */
  idempotent?: boolean
  /** Sent as its `Idempotency-Key`, and the `id` by which a queue knows it. @default random, and sent with `idempotent` alone */
  idempotencyKey?: string
  /** On disk before it is accepted, whatever its priority. @default by settings.queue.persist */
  persist?: boolean
  signal?: AbortSignal
  /**
   * Until the response head is there, in ms; the time in which the body moves is not counted. The wait in the queue is,
   * but for a request on disk, which may wait for as long as it takes.
   * @default settings.request.timeoutMs
   */
  timeoutMs?: number
  /** When nobody wants it any more: it then ends in TIMEOUT, wherever it is, after a restart too. @default never */
  expiresAt?: Date | number
  /** A larger answer ends in an error; `fetch` streams. @default 67_108_864 */
  maxBodyBytes?: number
}

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** RFC 9112, section 3.2: what may stand in a request line. */
const PATH = /^\/[\x21-\x7e]*$/

/** In the terms of the wire. @throws {TunnelError} CONFIG_INVALID */
export function httpRequestOf(
  request: ForwardRequest,
  defaultTimeoutMs: number,
  id: string,
  onAccepted?: () => void,
): HttpRequest {
  const { machine, method = 'GET', path = '/', priority, idempotent, idempotencyKey } = request
  const body = request.body ?? undefined
  const timeoutMs = request.timeoutMs ?? defaultTimeoutMs
  checkAsked({ machine, priority, timeoutMs })
  if (typeof method !== 'string' || !METHOD.test(method))
    throw configInvalid(`method = ${JSON.stringify(method)}: is not a valid method`)
  if (!PATH.test(path))
    throw configInvalid(`path = ${JSON.stringify(path).slice(0, 80)}: a path begins with / and has no spaces`)
  if (!isBody(body)) throw configInvalid('body: is not text, bytes, a Blob or a stream')
  if (isUsedUp(body)) throw configInvalid('body: it has been read already')
  if (idempotencyKey !== undefined && (typeof idempotencyKey !== 'string' || idempotencyKey === ''))
    throw configInvalid('idempotencyKey: is not a non-empty text')
  const headers = headerList(request.headers)
  return {
    machine,
    target: targetOf(request.port, request.target),
    method,
    path,
    headers: withIdempotencyKey(headers, method, idempotent, idempotencyKey, id),
    body,
    priority,
    idempotent,
    signal: request.signal,
    timeoutMs,
    expiresInMs: request.expiresAt === undefined ? undefined : expiresInMs(request.expiresAt),
    kept: undefined,
    onAccepted,
  }
}

function expiresInMs(at: Date | number): number {
  const ms = Number(at) - Date.now()
  if (Number.isNaN(ms)) throw configInvalid('expiresAt: is not a time')
  return Math.max(0, ms)
}

/** What is left of a stream that has been read is less than was meant, and would be sent without a word. */
function isUsedUp(body: BodyLike | undefined): boolean {
  if (body instanceof ReadableStream) return !isWhole(body)
  // One of Node's.
  const { readableEnded, destroyed } = Object(body) as { readableEnded?: boolean; destroyed?: boolean }
  return readableEnded === true || destroyed === true
}

/** Nobody else can say it: a Response takes no stream that has been read from (the Fetch standard, section 5.1). */
function isWhole(stream: ReadableStream): boolean {
  try {
    return new Response(stream).body !== null
  } catch {
    return false
  }
}
