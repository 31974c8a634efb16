import type { HeaderList, HttpResponseHead } from '../protocol/codec/heads.ts'

/** A whole answer. */
export class ForwardResponse {
  readonly status: number
  readonly statusText: string
  /** As they came: in order, in their own case, a name as often as it was sent. */
  readonly rawHeaders: HeaderList
  readonly body: Uint8Array
  #headers: Headers | undefined

  constructor(head: HttpResponseHead, body: Uint8Array) {
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

  /** The body as UTF-8. */
  text(): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.body)
  }

  /** @throws {SyntaxError} when the body is not JSON */
  json(): unknown {
    return JSON.parse(this.text()) as unknown
  }
}
