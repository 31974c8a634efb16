import { TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, HttpResponseHead } from '../protocol/codec/heads.ts'
import type { HttpAnswer } from './request.ts'

/** What a whole answer may have at most, unless its request says another thing. */
export const MAX_BODY_BYTES = 67_108_864

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

type Take = (answer: HttpAnswer) => Promise<ForwardResponse>

/** Makes a whole answer of what comes. */
export function takeWhole(maxBodyBytes = MAX_BODY_BYTES): Take {
  return maxBodyBytes === MAX_BODY_BYTES ? takeUsual : takeUpTo(maxBodyBytes)
}

/** Shared by all that wait. */
const takeUsual = takeUpTo(MAX_BODY_BYTES)

function takeUpTo(maxBodyBytes: number): Take {
  const tooLarge = () =>
    new TunnelError('ABORTED', `the answer has more than ${maxBodyBytes} bytes; fetch() streams it`, {
      hop: 'client',
    })
  return async ({ head, body }) => new ForwardResponse(head, await body.collect(maxBodyBytes, tooLarge))
}
