import type { ServerResponse } from 'node:http'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamWatcher, WatchedDirection } from '../forward/index.ts'
import { looksAtTooMuch } from './errors.ts'

/** Of what waits to be sent to somebody who looks on, in bytes; what passes meanwhile is counted, and not shown. */
const MAX_UNSENT_BYTES = 1_048_576
/** What is shown in a second, in bytes: nobody reads more, and to show it takes the proxy's time. */
const MAX_BYTES_PER_SECOND = 1_048_576
/** How often it is asked whether who looks on still may, in ms. */
const CHECK_MS = 1_000

/** A stream's payload as lines of JSON, for one caller, at no expense to the stream. */
export class Onlooker implements StreamWatcher {
  /** Resolves when the response has ended or been given up. */
  readonly gone: Promise<void>
  readonly #response: ServerResponse
  readonly #clock: Clock
  readonly #timer: NodeJS.Timeout
  #secondFromMs = 0
  #shownBytes = 0
  #missedBytes = 0
  /** Of all that it was shown. */
  totalBytes = 0

  /** @param mayGoOn throws when who looks on may no longer; asked every second */
  constructor(response: ServerResponse, mayGoOn: () => void, clock: Clock = systemClock) {
    this.#response = response
    this.#clock = clock
    this.#timer = setInterval(() => {
      try {
        mayGoOn()
        if (!this.#isFull) this.#tellMissed()
      } catch (error) {
        this.over(error as TunnelError)
      }
    }, CHECK_MS).unref()
    this.gone = new Promise((resolve) => {
      const gone = (): void => {
        clearInterval(this.#timer)
        resolve()
      }
      // It may have gone while it was asked whether it may look.
      if (response.closed) gone()
      else response.once('close', gone)
    })
  }

  bytes(direction: WatchedDirection, bytes: Uint8Array): void {
    if (!this.#mayShow(bytes.length)) {
      this.#missedBytes += bytes.length
      return
    }
    this.#tellMissed()
    this.totalBytes += bytes.length
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
    this.#tell({ at: new Date().toISOString(), direction, data })
  }

  over(error: TunnelError | undefined): void {
    if (this.#response.writableEnded) return
    clearInterval(this.#timer)
    this.#tellMissed()
    this.#tell({ over: true, ...(error !== undefined && { code: error.code, message: error.message }) })
    this.#response.end()
  }

  #mayShow(byteCount: number): boolean {
    // Where something is missing, it is told before anything that came after it.
    if (this.#missedBytes > 0 && this.#isFull) return false
    if (this.#response.writableLength + byteCount > MAX_UNSENT_BYTES) return false
    const nowMs = this.#clock.now()
    if (nowMs - this.#secondFromMs >= 1_000) {
      this.#secondFromMs = nowMs
      this.#shownBytes = 0
    }
    this.#shownBytes += byteCount
    return this.#shownBytes <= MAX_BYTES_PER_SECOND
  }

  get #isFull(): boolean {
    return this.#response.writableLength > MAX_UNSENT_BYTES / 2
  }

  #tellMissed(): void {
    if (this.#missedBytes === 0) return
    this.#tell({ missedBytes: this.#missedBytes })
    this.#missedBytes = 0
  }

  #tell(line: object): void {
    if (!this.#response.writableEnded && !this.#response.destroyed)
      this.#response.write(`${JSON.stringify(line)}\n`)
  }
}

/** How much is looked at by one user at once: what is not read in time is kept here, beside the user's own budget. */
const MAX_PER_USER = 16

/** Who looks on at how many streams. */
export class Onlookers {
  readonly #counts = new Map<string, number>()

  /** Returns what gives the place back, once. @throws {TunnelError} TOO_MANY_CONNECTIONS */
  take(userId: string): () => void {
    const count = this.#counts.get(userId) ?? 0
    if (count >= MAX_PER_USER) throw looksAtTooMuch(MAX_PER_USER)
    this.#counts.set(userId, count + 1)
    return () => {
      const left = (this.#counts.get(userId) ?? 1) - 1
      if (left === 0) this.#counts.delete(userId)
      else this.#counts.set(userId, left)
    }
  }
}
