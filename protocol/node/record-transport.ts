import type { Writable } from 'node:stream'
import { type Ended, framePrefix, goodbye, NO_GOODBYE, RecordReader } from '../link/records.ts'
import {
  CLOSE_TIMEOUT_MS,
  type Transport,
  type TransportKind,
  type TransportReceiver,
} from '../link/transport.ts'

/** Where what is received comes from. */
export interface Source {
  pause(): void
  resume(): void
}

/** What can hold back what is written. */
export interface Corkable {
  cork(): void
  uncork(): void
}

/** A byte stream each way as a link's transport: records on `output`, and whatever is given to `received`. */
export class RecordTransport implements Transport {
  readonly kind: TransportKind
  receiver: TransportReceiver | undefined
  readonly #output: Writable
  readonly #source: Source
  readonly #corkable: Corkable
  readonly #reader: RecordReader
  #ended: Ended = NO_GOODBYE
  #isClosing = false
  #isCorked = false
  #closeTimer: NodeJS.Timeout | undefined
  #unsentFrames = 0
  readonly #sent = (): void => {
    this.#unsentFrames--
    this.receiver?.drained()
  }
  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#corkable.uncork()
  }

  /**
   * @param output its 'close' is the end of the transport
   * @param corkable what is below `output` where that must not be corked itself
   */
  constructor(
    kind: TransportKind,
    output: Writable,
    source: Source,
    maxFrameBytes: number,
    corkable: Corkable = output,
  ) {
    this.kind = kind
    this.#output = output
    this.#source = source
    this.#corkable = corkable
    this.#reader = new RecordReader(maxFrameBytes, {
      frame: (frame) => this.receiver?.message(frame),
      ended: (ended, isTooBig) => {
        if (isTooBig) return this.close(ended.code, ended.reason)
        if (!this.#isClosing) this.#ended = ended
        this.#isClosing = true
        output.end()
      },
    })
    // 'close' follows and says the same to the link.
    output.on('error', () => {})
    output.once('close', () => {
      clearTimeout(this.#closeTimer)
      this.#reader.stop()
      this.receiver?.closed(this.#ended.code, this.#ended.reason)
    })
  }

  get bufferedBytes(): number {
    return this.#output.writableLength
  }

  get unsentFrames(): number {
    return this.#unsentFrames
  }

  received(chunk: Uint8Array): void {
    this.#reader.read(chunk)
  }

  send(frame: Uint8Array): void {
    if (this.#isClosing || this.#output.destroyed) return
    this.#cork()
    this.#unsentFrames++
    this.#output.write(framePrefix(frame.length))
    this.#output.write(frame, this.#sent)
  }

  /** The length and what follows it leave in one system call, with whatever else this turn of the event loop sends. */
  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#corkable.cork()
    setImmediate(this.#uncork)
  }

  close(code: number, reason: string): void {
    if (this.#isClosing) return
    this.#isClosing = true
    this.#ended = { code, reason }
    this.#cork()
    this.#output.end(goodbye(this.#ended))
    this.#source.resume()
    this.#closeTimer = setTimeout(() => this.#output.destroy(), CLOSE_TIMEOUT_MS).unref()
  }

  terminate(): void {
    this.#output.destroy()
  }
  pause(): void {
    this.#source.pause()
  }
  resume(): void {
    this.#source.resume()
  }
}
