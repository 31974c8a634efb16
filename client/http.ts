import { TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, HttpResponseHead, Priority } from '../protocol/codec/heads.ts'
import { type HeadersLike, headerList } from './headers.ts'
import { type RequestPath, sendRequest } from './request.ts'
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
  signal?: AbortSignal
  /**
   * Until the response head is there, in ms, the wait in the queue included; the time in which the body moves is not.
   * @default settings.request.timeoutMs
   */
  timeoutMs?: number
  /** A larger answer ends in an error; `fetch` streams. @default 67_108_864 */
  maxBodyBytes?: number
}

const MAX_BODY_BYTES = 67_108_864

/** A whole answer. */
export class ForwardResponse {
  readonly status: number
  readonly statusText: string
  /** As they came: in order, in their own case, a name as often as it was sent. */
  readonly rawHeaders: HeaderList
  readonly body: Buffer
  #headers: Headers | undefined

  constructor(head: HttpResponseHead, body: Buffer) {
    this.status = head.status
    this.statusText = head.statusText
    this.rawHeaders = head.headers
    this.body = body
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  get headers(): Headers {
    this.#headers ??= new Headers(this.rawHeaders)
    return this.#headers
  }

  text(): string {
    return this.body.toString('utf8')
  }

  /** @throws {SyntaxError} when the body is not JSON */
  json(): unknown {
    return JSON.parse(this.text()) as unknown
  }
}

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

/** @throws {TunnelError} */
export async function forwardRequest(
  requestPath: RequestPath,
  defaultTimeoutMs: number,
  request: ForwardRequest,
): Promise<ForwardResponse> {
  const { machine, method = 'GET', path = '/', maxBodyBytes = MAX_BODY_BYTES } = request
  if (!METHOD.test(method)) throw invalid(`method = ${JSON.stringify(method)}: is not a valid method`)
  if (!PATH.test(path))
    throw invalid(`path = ${JSON.stringify(path).slice(0, 80)}: a path begins with / and has no spaces`)
  const answer = await sendRequest(requestPath, {
    machine,
    target: targetOf(request.port, request.target),
    method,
    path,
    headers: headerList(request.headers),
    body: request.body,
    priority: request.priority,
    idempotent: request.idempotent,
    signal: request.signal,
    timeoutMs: request.timeoutMs ?? defaultTimeoutMs,
  })
  const chunks = await answer.body.collect(
    maxBodyBytes,
    () =>
      new TunnelError('ABORTED', `the answer has more than ${maxBodyBytes} bytes; fetch() streams it`, {
        hop: 'client',
      }),
  )
  return new ForwardResponse(answer.head, Buffer.concat(chunks))
}
