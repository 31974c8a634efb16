import type { TunnelStream } from '../../protocol/stream/stream.ts'

function byteAt(position: number): number {
  return (Math.imul(position + 1, 2_654_435_761) >>> 24) ^ (position & 0xff)
}

/** A stream of somebody else, which sends and gets back a known sequence all the time. */
export class Bystander {
  readonly stream: TunnelStream
  readonly #violation: (text: string) => void
  #written = 0
  echoed = 0

  constructor(stream: TunnelStream, violation: (text: string) => void) {
    this.stream = stream
    this.#violation = violation
    stream.handle({
      data: (bytes) => {
        for (const byte of bytes) {
          if (byte === byteAt(this.echoed++)) continue
          violation(`the bystander's byte ${this.echoed - 1} is another than was sent`)
          break
        }
        stream.consumed(bytes.length)
      },
      suspended: () => violation("the bystander's stream lost its path"),
      closed: (error) => violation(`the bystander's stream ended: ${error?.message}`),
    })
  }

  write(byteCount: number): void {
    const chunk = new Uint8Array(byteCount)
    for (let index = 0; index < byteCount; index++) chunk[index] = byteAt(this.#written++)
    this.stream.write(chunk)
  }

  /** All that was written has come back. */
  get complete(): boolean {
    return this.echoed === this.#written
  }

  /** After some time in which nothing was written. */
  check(): void {
    if (!this.complete) this.#violation(`the bystander got ${this.echoed} of ${this.#written} bytes back`)
  }

  static echo(stream: TunnelStream): void {
    stream.handle({
      data: (bytes) => {
        stream.write(bytes.slice())
        stream.consumed(bytes.length)
      },
    })
    stream.accept()
  }
}
