import type { TunnelError } from '../protocol/codec/errors.ts'

/** The receiving half of a stream, as far as a body needs it. */
export interface BodySource {
  consumed(byteCount: number): void
  reset(error: TunnelError): void
}

type Taker = (chunk: Uint8Array | undefined) => void

/**
 * What arrives on a stream, held until somebody takes it. The window bounds it: no credit is given for what is not taken,
 * so that a slow reader slows its own stream alone.
 */
export class ResponseBody {
  readonly #source: BodySource
  readonly #chunks: Uint8Array[] = []
  #ended = false
  #error: TunnelError | undefined
  #waiting: { take: Taker; fail: (error: TunnelError) => void } | undefined
  #discarding = false

  constructor(source: BodySource) {
    this.#source = source
  }

  push(bytes: Uint8Array): void {
    if (this.#discarding) this.#source.consumed(bytes.length)
    else if (this.#waiting === undefined) this.#chunks.push(bytes)
    else this.#hand(bytes)
  }

  end(): void {
    this.#ended = true
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.take(undefined)
  }

  /** Nothing more comes. What was complete before stays so. */
  fail(error: TunnelError): void {
    if (this.#ended || this.#error !== undefined) return
    this.#error = error
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.fail(error)
  }

  /** The next bytes; undefined at the end. One caller at a time. */
  read(): Promise<Uint8Array | undefined> {
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      this.#source.consumed(chunk.length)
      return Promise.resolve(chunk)
    }
    if (this.#error !== undefined) return Promise.reject(this.#error)
    if (this.#ended) return Promise.resolve(undefined)
    return new Promise((take, fail) => {
      this.#waiting = { take, fail }
    })
  }

  /** Whatever comes is let through and dropped. */
  discard(): void {
    this.#discarding = true
    for (const chunk of this.#chunks.splice(0)) this.#source.consumed(chunk.length)
  }

  /**
   * All of it, in memory.
   * @param tooLarge what to end with when there is more than `maxBytes`
   */
  async collect(maxBytes: number, tooLarge: () => TunnelError): Promise<Uint8Array> {
    const chunks: Uint8Array[] = []
    let size = 0
    for (let chunk = await this.read(); chunk !== undefined; chunk = await this.read()) {
      size += chunk.length
      if (size > maxBytes) {
        const error = tooLarge()
        this.#source.reset(error)
        throw error
      }
      chunks.push(chunk)
    }
    return joined(chunks, size)
  }

  #hand(bytes: Uint8Array): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    this.#source.consumed(bytes.length)
    waiting?.take(bytes)
  }
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const [only] = chunks
  if (chunks.length === 1 && only !== undefined) return only
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
