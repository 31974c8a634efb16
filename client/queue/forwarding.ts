import { ChurningSet } from '../../protocol/churn.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { isIdempotent } from '../../protocol/codec/http-rules.ts'
import { type ForwardRequest, httpRequestOf } from '../forward-request.ts'
import { type ForwardResponse, MAX_BODY_BYTES, takeWhole } from '../forward-response.ts'
import type { ClientSettings } from '../options.ts'
import { stillQueued } from '../outcome.ts'
import type { HttpRequest, RequestPath } from '../request.ts'
import { sendRequest } from '../sending.ts'
import { inMemory, isBlob } from '../upload.ts'
import { withoutCredentials } from './credentials.ts'
import { configInvalid } from './errors.ts'
import type { RequestKeeper } from './keeper.ts'
import type { StoredRequest } from './record.ts'

/** The requests of `forwardRequest` and `enqueue`: which are kept on disk, and what becomes of them at the end. */
export class Forwarding {
  readonly #path: RequestPath
  readonly #settings: ClientSettings
  /** Absent where nothing is to be kept. */
  readonly #kept: RequestKeeper | undefined
  /** Those that are not on disk, or not yet, and have no outcome. */
  readonly #running = new ChurningSet<Promise<unknown>>()
  /** The client disconnects: with this error everything ends, and what was not sent goes on disk. */
  #cutWith: TunnelError | undefined

  constructor(path: RequestPath, settings: ClientSettings, kept: RequestKeeper | undefined) {
    this.#path = path
    this.#settings = settings
    this.#kept = kept
  }

  /**
   * @param accepted to be called when the request is accepted
   * @throws {TunnelError} CONFIG_INVALID at once; the promise rejects with everything else
   */
  send(request: ForwardRequest, id: string, accepted: () => void): Promise<ForwardResponse> {
    const http = httpRequestOf(request, this.#settings.request.timeoutMs, id, accepted)
    const stored = this.#isToKeep(request) ? storedOf(request, http, id) : undefined
    if (!(stored instanceof Promise)) return this.#sendAs(stored, request, http, id)
    return this.#run(stored.then((made) => this.#sendAs(made, request, http, id)))
  }

  #sendAs(
    stored: StoredRequest | undefined,
    request: ForwardRequest,
    http: HttpRequest,
    id: string,
  ): Promise<ForwardResponse> {
    if (stored !== undefined && this.#kept !== undefined) return this.#kept.send(stored, http)
    if (request.persist === true) {
      const isDurable = this.#kept !== undefined
      const text = isDurable
        ? 'a body that is a stream cannot be kept'
        : 'there is no queue.dir to keep it in'
      throw configInvalid(`persist: ${text}`)
    }
    return this.#run(this.#sendUnkept(request, http, id))
  }

  #run<T>(sending: Promise<T>): Promise<T> {
    this.#running.add(sending)
    const over = () => void this.#running.delete(sending)
    sending.then(over, over)
    return sending
  }

  /** What to leave for the program that has the queue. @throws {TunnelError} CONFIG_INVALID */
  async storedOf(request: ForwardRequest, id: string): Promise<StoredRequest> {
    const http = httpRequestOf(request, this.#settings.request.timeoutMs, id)
    const stored = await storedOf(request, http, id)
    if (stored === undefined) throw configInvalid('body: one that is a stream cannot be handed over')
    return stored
  }

  /** From now on what has not been sent, and was to end with `error`, goes on disk. */
  keepRest(error: TunnelError): void {
    this.#cutWith = error
  }

  /** Everything has been given an end: waits for it, and closes the store. */
  async close(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running)
    await this.#kept?.close()
  }

  async #sendUnkept(request: ForwardRequest, http: HttpRequest, id: string): Promise<ForwardResponse> {
    try {
      return await sendRequest(this.#path, http, takeWhole(request.maxBodyBytes))
    } catch (error) {
      const isCut = this.#cutWith !== undefined && error === this.#cutWith
      const stored = isCut && request.persist !== false ? await storedOf(request, http, id) : undefined
      if (stored === undefined || this.#kept === undefined) throw error
      await this.#kept.keep(stored)
      throw stillQueued(error as TunnelError)
    }
  }

  #isToKeep({ persist, priority }: ForwardRequest): boolean {
    if (this.#kept === undefined) return false
    return persist ?? (this.#settings.queue.persist === 'all' || priority === 'high')
  }
}

/** Undefined for a body that can be read once only. */
function storedOf(
  request: ForwardRequest,
  http: HttpRequest,
  id: string,
): StoredRequest | undefined | Promise<StoredRequest> {
  if (isBlob(http.body))
    return http.body.arrayBuffer().then((bytes) => storedWith(request, http, id, new Uint8Array(bytes)))
  const body = inMemory(http.body)
  if (http.body !== undefined && body === undefined) return undefined
  return storedWith(request, http, id, body)
}

function storedWith(
  request: ForwardRequest,
  http: HttpRequest,
  id: string,
  body: Uint8Array | undefined,
): StoredRequest {
  const { machine, target, method, path, timeoutMs, expiresInMs } = http
  const { kept: headers, withheld } = withoutCredentials(http.headers)
  const acceptedAtMs = Date.now()
  return {
    id,
    machine,
    target,
    method,
    path,
    headers,
    withheld,
    body,
    timeoutMs,
    acceptedAtMs,
    priority: http.priority ?? 'normal',
    idempotent: http.idempotent ?? isIdempotent(method),
    maxBodyBytes: request.maxBodyBytes ?? MAX_BODY_BYTES,
    expiresAtMs: expiresInMs === undefined ? undefined : acceptedAtMs + expiresInMs,
  }
}
