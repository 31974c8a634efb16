import type { Readable, Writable } from 'node:stream'
import { type Clock, systemClock } from '../clock.ts'
import { asTunnelError, type TunnelError } from '../codec/errors.ts'
import type { StreamEvent } from '../codec/heads.ts'
import type { ByteStream } from '../stream/byte-stream.ts'
import { ReadableToStream, StreamToWritable } from './pumps.ts'

/** How long a peer may go on sending to a side that has closed before its stream is reset, in ms. */
export const LINGER_MS = 30_000

/** What a stream is joined with: a socket, an SSH channel. */
export type Joined = Readable & Writable

/** What the two sides of a join mean to whoever joins them; whatever is left out has no meaning there. */
export interface JoinOptions {
  /** @default the system's */
  clock?: Clock
  /** The acceptor has answered: the time to attach the far side, on the opener's side of a stream. */
  accepted?(): void
  /** Payload that has passed; `in` is from the stream's opener, `out` is towards it. */
  carried?(direction: 'in' | 'out', byteCount: number): void
  /** An event of the stream, such as a signal for a command. It may come before there is anybody to take it. */
  event?(event: StreamEvent): void
  /** The stream has lost its path; `resumed` follows when it is back. */
  suspended?(): void
  resumed?(): void
  /** Once, when the stream is over: by `error`, or in order, and then when the far side has had its last byte. */
  closed?(error: TunnelError | undefined): void
}

/** How the far side of a join ends. */
export interface FarEnd {
  /** Its second channel (a command's stderr). */
  aux?: Readable
  /** What an error of the far side is to the stream's opener. */
  failed(error: Error): TunnelError
  /** The far side has closed: returns what the stream is reset with, or undefined to end it in order. */
  closed?(): TunnelError | undefined
  /** What the peer is told that still sends, long after the far side has closed. */
  unread(): TunnelError
  /** Ends the far side of a stream that has ended by an error. @default its `destroy` */
  abort?(): void
}

/**
 * Joins a stream with the world, with one rule for how either ends:
 * - a half close passes through as a half close;
 * - a far side that closes ends the stream in order, because a reset would overtake what was read before it; what the
 *   opener still sends is dropped, and an opener that goes on for LINGER_MS is reset;
 * - an error of the far side resets the stream; a stream that is over destroys the far side, after an orderly end when
 *   that has taken what is still to be written, and at once after an error.
 *
 * It takes the stream's events at once; the far side follows with `attach`.
 */
export class Join {
  readonly #stream: ByteStream
  readonly #options: JoinOptions
  readonly #clock: Clock
  readonly #inlet: StreamToWritable
  readonly #outlet = new ReadableToStream()
  #far: Joined | undefined
  #abort: (() => void) | undefined
  #linger: unknown
  #isFarClosed = false
  #over = false

  constructor(stream: ByteStream, options: JoinOptions) {
    this.#stream = stream
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#inlet = new StreamToWritable(stream)
    stream.handle({
      accepted: () => options.accepted?.(),
      data: (bytes) => {
        options.carried?.('in', bytes.length)
        this.#inlet.data(bytes)
      },
      aux: (bytes) => stream.consumed(bytes.length),
      event: (event) => options.event?.(event),
      ended: () => this.#inlet.end(),
      drained: () => this.#outlet.drained(),
      suspended: () => options.suspended?.(),
      resumed: () => options.resumed?.(),
      closed: (error) => this.#closed(error),
    })
  }

  /** The stream is over; a far side that comes now is destroyed by whoever made it. */
  get over(): boolean {
    return this.#over
  }

  /** From now on bytes pass both ways. The stream has been accepted. A far side that was paused has to be resumed. */
  attach(far: Joined, end: FarEnd): void {
    this.#far = far
    this.#abort = end.abort
    far.on('error', (error: Error) => this.#stream.reset(end.failed(error)))
    if (end.aux === undefined) far.on('end', () => this.#stream.end())
    const sides = end.aux === undefined ? [far] : [far, end.aux]
    afterAll(sides, () => this.#farClosed(end))
    this.#inlet.attach(far)
    this.#take(far, (bytes) => this.#stream.write(bytes))
    if (end.aux !== undefined) this.#take(end.aux, (bytes) => this.#stream.writeAux(bytes))
  }

  #take(readable: Readable, write: (bytes: Uint8Array) => boolean): void {
    this.#outlet.attach(readable, (bytes) => {
      this.#options.carried?.('out', bytes.length)
      return write(bytes)
    })
  }

  #farClosed(end: FarEnd): void {
    this.#isFarClosed = true
    if (this.#over) return
    this.#inlet.discard()
    const error = end.closed?.()
    if (error !== undefined) return this.#stream.reset(error)
    this.#stream.end()
    if (this.#inlet.ended || this.#over) return
    this.#linger = this.#clock.setTimer(() => this.#stream.reset(end.unread()), LINGER_MS)
  }

  #closed(error: TunnelError | undefined): void {
    this.#over = true
    this.#clock.clearTimer(this.#linger)
    const far = this.#far
    const isDone = error !== undefined || this.#isFarClosed || far?.writableFinished === true
    if (far !== undefined && !isDone) return this.#finishWriting(far)
    if (error !== undefined && this.#abort !== undefined) this.#abort()
    else far?.destroy()
    this.#options.closed?.(error)
  }

  /** The stream has ended in order, and its last bytes still wait to be written here: for as long as they move. */
  #finishWriting(far: Joined): void {
    const leftBytes = far.writableLength
    const done = (): void => {
      this.#clock.clearTimer(this.#linger)
      far.off('finish', done).off('close', done).destroy()
      this.#options.closed?.(undefined)
    }
    far.once('finish', done).once('close', done)
    this.#linger = this.#clock.setTimer(() => {
      if (far.writableLength >= leftBytes) return done()
      far.off('finish', done).off('close', done)
      this.#finishWriting(far)
    }, LINGER_MS)
  }
}

/** Once each has closed, which is after all of its data has been read. */
function afterAll(sides: readonly Readable[], done: () => void): void {
  let left = sides.length
  for (const side of sides) {
    side.once('close', () => {
      left--
      if (left === 0) done()
    })
  }
}

/** What an error of a socket or channel is, where nothing better is known. */
export function farFailed(error: unknown): TunnelError {
  return asTunnelError(error, 'ssh', 'AGENT_LOST')
}
