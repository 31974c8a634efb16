import type { Clock } from '../clock.ts'
import { Fifo } from '../fifo.ts'
import { problemOf } from './dial-failure.ts'
import { readText } from './read-text.ts'
import type { Fetch } from './transport.ts'

/** The headers of a post: whose session it is, and the offset of its first byte among all bytes up. */
export const SESSION_HEADER = 'tunnel-session'
export const OFFSET_HEADER = 'tunnel-offset'
/** The most that one post carries, in bytes. */
export const MAX_POST_BYTES = 131_072
/** Posts that are under way at once. */
export const MAX_POSTS = 4

/** Tries of one post, and the wait before the second, in ms; it doubles. What has arrived twice is taken once. */
const TRIES = 4
const RETRY_MS = 100
/** Answers of an intermediary that has not reached the proxy, or of a proxy that was not ready to read. */
const TRANSIENT: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])
/**
 * Tries of one post that comes to other proxies than the one that has the link, behind a load balancer that hands out
 * requests without regard to it. When the link is over its answer ends as well, and with it the tries.
 */
const SEARCHES = 64
/** The longest wait between two of them, in ms: posts that go on in step would come to the same proxies for ever. */
const SEARCH_MS = 5
const MAX_PROBLEM_BYTES = 16_384

export interface UplinkOptions {
  url: string
  headers: Record<string, string>
  fetch: Fetch
  clock: Clock
  /** `queuedBytes` has gone down. */
  sent(): void
  /** All that was written has arrived. */
  idle(): void
  /** A post was refused; nothing more is sent. `status` is 0 when there was no answer. */
  failed(status: number, body: string): void
}

/** `status` is 0 when there was none. */
interface Answer {
  status: number
  text: string
}

function isTransient({ status }: Answer): boolean {
  return status === 0 || TRANSIENT.has(status)
}

function isElsewhere({ status, text }: Answer): boolean {
  return status === 404 && problemOf(text)?.code === 'SESSION_UNKNOWN'
}

/** A byte stream as posts: whoever reads them puts them in order by their offsets. */
export class HttpUplink {
  readonly #options: UplinkOptions
  readonly #queue = new Fifo<Uint8Array>()
  readonly #abort = new AbortController()
  #queuedBytes = 0
  /** Of the first in the queue: what is in a post already. */
  #takenBytes = 0
  #offset = 0
  #posts = 0
  #isScheduled = false

  constructor(options: UplinkOptions) {
    this.#options = options
  }

  /** Bytes that are in no post yet. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  write(...parts: Uint8Array[]): void {
    if (this.#abort.signal.aborted) return
    for (const part of parts) {
      this.#queue.push(part)
      this.#queuedBytes += part.length
    }
    if (this.#isScheduled) return
    this.#isScheduled = true
    // With whatever else this turn of the event loop writes.
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#send()
    })
  }

  stop(): void {
    this.#abort.abort()
    this.#queue.clear()
    this.#queuedBytes = 0
  }

  #send(): void {
    let hasSent = false
    while (this.#queuedBytes > 0 && this.#posts < MAX_POSTS) {
      const body = this.#take()
      const offset = this.#offset
      this.#offset += body.length
      this.#posts++
      hasSent = true
      void this.#post(offset, body)
    }
    if (hasSent) queueMicrotask(this.#options.sent)
  }

  #take(): Uint8Array {
    const body = new Uint8Array(Math.min(this.#queuedBytes, MAX_POST_BYTES))
    let filled = 0
    while (filled < body.length) {
      const part = this.#queue.at(0) as Uint8Array
      const fits = part.subarray(this.#takenBytes, this.#takenBytes + body.length - filled)
      body.set(fits, filled)
      filled += fits.length
      this.#takenBytes += fits.length
      if (this.#takenBytes < part.length) continue
      this.#queue.shift()
      this.#takenBytes = 0
    }
    this.#queuedBytes -= body.length
    return body
  }

  async #post(offset: number, body: Uint8Array): Promise<void> {
    const { failed, idle } = this.#options
    let answer = await this.#search(offset, body)
    for (let tried = 1; tried < TRIES && isTransient(answer) && !this.#abort.signal.aborted; tried++) {
      await this.#wait(RETRY_MS * 2 ** (tried - 1))
      answer = await this.#search(offset, body)
    }
    this.#posts--
    if (this.#abort.signal.aborted) return
    if (answer.status !== 204) {
      this.stop()
      return failed(answer.status, answer.text)
    }
    this.#send()
    if (this.#posts === 0) idle()
  }

  /** Until it comes to the proxy that has the link. Any other closes the connection, so that each is a new choice. */
  async #search(offset: number, body: Uint8Array): Promise<Answer> {
    let answer = await this.#try(offset, body)
    for (let tried = 1; tried < SEARCHES && isElsewhere(answer) && !this.#abort.signal.aborted; tried++) {
      if (tried > 1) await this.#wait(Math.random() * SEARCH_MS)
      answer = await this.#try(offset, body)
    }
    return answer
  }

  async #try(offset: number, body: Uint8Array): Promise<Answer> {
    const { url, fetch } = this.#options
    const headers = {
      ...this.#options.headers,
      'content-type': 'application/octet-stream',
      [OFFSET_HEADER]: String(offset),
    }
    const { signal } = this.#abort
    try {
      const response = await fetch(url, { method: 'POST', headers, body, signal })
      if (response.status === 204) return { status: 204, text: '' }
      return { status: response.status, text: await readText(response, MAX_PROBLEM_BYTES) }
    } catch {
      return { status: 0, text: '' }
    }
  }

  #wait(ms: number): Promise<void> {
    const { signal } = this.#abort
    return new Promise((resolve) => {
      const end = (): void => {
        this.#options.clock.clearTimer(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = this.#options.clock.setTimer(end, ms)
      signal.addEventListener('abort', end, { once: true })
    })
  }
}
