import { Duplex, Readable } from 'node:stream'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import type { StreamEvent } from '../codec/heads.ts'
import type { TunnelStream } from '../stream/stream.ts'

export interface StreamDuplexOptions {
  /** Whether the second channel is wanted, as `aux`. @default false: its bytes are dropped */
  aux?: boolean
  /** The acceptor has answered. */
  accepted?: () => void
}

/** What may be written before it is known to have been framed, in bytes: about what a turn of the event loop brings. */
const WRITE_AHEAD_BYTES = 131_072
/** What may wait for a reader before it counts as unread, in bytes: Node's default, which is four times as much since Node 22. */
const READ_AHEAD_BYTES = 16_384

function dropped(): TunnelError {
  return new TunnelError('ABORTED', 'the stream was destroyed before its end', { hop: 'link' })
}

interface StreamDuplexEvents {
  streamEvent: [event: StreamEvent]
  suspended: []
  /** Bytes that may not have arrived, and are sent again. */
  resumed: [replayedBytes: number]
}

/**
 * A tunnel stream as a Node stream: reading grants credit, writing waits for it, `end` is a half close. A RESET
 * arrives as 'error' with its TunnelError; `destroy()` before both sides have ended resets the stream.
 */
export class StreamDuplex extends Duplex {
  readonly stream: TunnelStream
  /** The second channel (stderr of exec), when it was asked for. */
  readonly aux: Readable | undefined
  #heldBytes = 0
  #heldAuxBytes = 0
  /** Of the write that is under way. */
  #writing: ((error?: Error | null) => void) | undefined
  #closed = false

  constructor(stream: TunnelStream, { aux = false, accepted }: StreamDuplexOptions = {}) {
    // Both halves may be over here while the peer still lacks bytes: the stream says when it is over.
    super({
      allowHalfOpen: true,
      autoDestroy: false,
      readableHighWaterMark: READ_AHEAD_BYTES,
      writableHighWaterMark: WRITE_AHEAD_BYTES,
    })
    this.stream = stream
    this.aux = aux
      ? new Readable({ highWaterMark: READ_AHEAD_BYTES, read: () => this.#takeAux() })
      : undefined
    stream.handle({
      ...(accepted === undefined ? {} : { accepted }),
      data: (bytes) => this.#data(bytes),
      aux: (bytes) => this.#auxData(bytes),
      event: (event) => this.emit('streamEvent', event),
      ended: () => {
        this.push(null)
        this.aux?.push(null)
      },
      suspended: () => this.emit('suspended'),
      resumed: (replayedBytes) => this.emit('resumed', replayedBytes),
      closed: (error) => this.#streamClosed(error),
    })
  }

  /**
   * The stream that its acceptor has taken; rejects with the error that ended it before that. A stream that ends
   * in the same turn as it is accepted also rejects, because its caller cannot have added a listener yet.
   */
  static accepted(stream: TunnelStream, options: StreamDuplexOptions = {}): Promise<StreamDuplex> {
    return new Promise((resolve, reject) => {
      const hand = (): void => {
        if (duplex.errored !== null) return
        duplex.off('error', reject)
        resolve(duplex)
      }
      const duplex = new StreamDuplex(stream, {
        ...options,
        accepted() {
          options.accepted?.()
          queueMicrotask(hand)
        },
      })
      duplex.once('error', reject)
    })
  }

  override on<K extends keyof StreamDuplexEvents>(
    name: K,
    listener: (...args: StreamDuplexEvents[K]) => void,
  ): this
  override on(name: string | symbol, listener: (...args: never[]) => void): this
  override on(name: string | symbol, listener: (...args: never[]) => void): this {
    return super.on(name, listener as (...args: unknown[]) => void)
  }

  #data(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    if (this.push(chunk)) this.stream.consumed(chunk.length)
    else this.#heldBytes += chunk.length
  }

  #auxData(bytes: Uint8Array): void {
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    const unwanted = this.aux === undefined || this.aux.destroyed
    if (unwanted || this.aux.push(chunk)) this.stream.consumed(chunk.length)
    else this.#heldAuxBytes += chunk.length
  }

  override _read(): void {
    const bytes = this.#heldBytes
    this.#heldBytes = 0
    if (bytes > 0) this.stream.consumed(bytes)
  }

  #takeAux(): void {
    const bytes = this.#heldAuxBytes
    this.#heldAuxBytes = 0
    if (bytes > 0) this.stream.consumed(bytes)
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this.stream.write(chunk)
    this.#callWhenFramed(callback)
  }

  override _writev(chunks: { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    for (const { chunk } of chunks) this.stream.write(chunk)
    this.#callWhenFramed(callback)
  }

  /** From its callback on a chunk is its writer's again, who may write something else there. */
  #callWhenFramed(callback: (error?: Error | null) => void): void {
    this.#writing = callback
    this.stream.whenFramed(() => {
      this.#writing = undefined
      callback()
    })
  }

  override _final(callback: () => void): void {
    this.stream.end()
    callback()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    if (!this.#closed) {
      const reason = error ?? dropped()
      this.stream.reset(asTunnelError(reason, 'link', 'ABORTED'))
    }
    // After an orderly end what waits in it may still be read.
    if (error !== null || !this.#closed) this.aux?.destroy()
    const writing = this.#writing
    this.#writing = undefined
    writing?.(error ?? dropped())
    callback(error)
  }

  #streamClosed(error: TunnelError | undefined): void {
    this.#closed = true
    if (error === undefined) {
      // What was received may still wait for its reader.
      if (this.readableEnded) this.destroy()
      else this.once('end', () => this.destroy())
      return
    }
    this.destroy(error)
  }
}
