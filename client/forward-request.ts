import { TunnelError } from '../protocol/codec/errors.ts'
import { PRIORITIES, type Priority } from '../protocol/codec/heads.ts'
import { ForwardResponse } from './forward-response.ts'
import { type HeadersLike, headerList, withIdempotencyKey } from './headers.ts'
import type { HttpAnswer, HttpRequest } from './request.ts'
import type { BodyLike } from './upload.ts'

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

export const MAX_BODY_BYTES = 67_108_864

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** RFC 9112, section 3.2: what may stand in a request line. */
const PATH = /^\/[\x21-\x7e]*$/

function invalid(what: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', what, { hop: 'client' })
}

/** `127.0.0.1:PORT`, or the target that was given. @throws {TunnelError} CONFIG_INVALID */
export function targetOf(port: number | undefined, target: string | undefined): string {
  if (target !== undefined) return target
  const chosen = port ?? 80
  if (!Number.isInteger(chosen) || chosen < 1 || chosen > 65_535)
    throw invalid(`port = ${chosen}: a port is a number from 1 to 65535`)
  return `127.0.0.1:${chosen}`
}

/** In the terms of the wire. @throws {TunnelError} CONFIG_INVALID */
export function httpRequestOf(request: ForwardRequest, defaultTimeoutMs: number, id: string): HttpRequest {
  const { machine, method = 'GET', path = '/', priority, idempotent, body } = request
  if (!METHOD.test(method)) throw invalid(`method = ${JSON.stringify(method)}: is not a valid method`)
  if (!PATH.test(path))
    throw invalid(`path = ${JSON.stringify(path).slice(0, 80)}: a path begins with / and has no spaces`)
  if (priority !== undefined && !PRIORITIES.includes(priority))
    throw invalid(`priority = ${JSON.stringify(priority)}: is high, normal or low`)
  if (isUsedUp(body)) throw invalid('body: it has been read already')
  const headers = headerList(request.headers)
  return {
    machine,
    target: targetOf(request.port, request.target),
    method,
    path,
    headers: withIdempotencyKey(headers, method, idempotent, request.idempotencyKey, id),
    body,
    priority,
    idempotent,
    signal: request.signal,
    timeoutMs: request.timeoutMs ?? defaultTimeoutMs,
    expiresInMs: request.expiresAt === undefined ? undefined : expiresInMs(request.expiresAt),
  }
}

function expiresInMs(at: Date | number): number {
  const ms = Number(at) - Date.now()
  if (Number.isNaN(ms)) throw invalid('expiresAt: is not a time')
  return Math.max(0, ms)
}

function isUsedUp(body: BodyLike | undefined): boolean {
  return body instanceof ReadableStream && body.locked
}

/** Makes a whole answer of what comes. */
export function takeWhole(maxBodyBytes = MAX_BODY_BYTES): (answer: HttpAnswer) => Promise<ForwardResponse> {
  const tooLarge = () =>
    new TunnelError('ABORTED', `the answer has more than ${maxBodyBytes} bytes; fetch() streams it`, {
      hop: 'client',
    })
  return async ({ head, body }) => new ForwardResponse(head, await body.collect(maxBodyBytes, tooLarge))
}
