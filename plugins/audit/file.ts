import { close, closeSync, fstatSync, openSync, write } from 'node:fs'
import { isTorn, rotate } from './folder.ts'

/** Before what could not be written is tried again, in ms. */
const RETRY_MS = 1_000
/** How often it is looked whether the file is still in its place, in ms. */
const LOOK_MS = 10_000
/** Before a file that could not be set aside is tried again, in ms. */
const ROTATE_AGAIN_MS = 60_000
const NEWLINE = 10

export interface AuditFileOptions {
  maxBytes: number
  maxMs: number
  /** Files that were set aside and are kept. */
  keep: number
  /** Once when it cannot be written to, and `recovered` once when it can be again. */
  failed(error: Error): void
  recovered(): void
}

interface Open {
  descriptor: number
  bornMs: number
  bytes: number
}

/**
 * A file that text is appended to. What cannot be written is kept and tried again, from the very byte at which the disk
 * was full; whoever appends asks `heldBytes` how much that is.
 */
export class AuditFile {
  readonly #path: string
  readonly #options: AuditFileOptions
  #open: Open | undefined
  /** The inode that `#batch` was begun in. */
  #inode: number | undefined
  #waiting = ''
  #batch = Buffer.alloc(0)
  #writtenBytes = 0
  #isWriting = false
  #problem: Error | undefined
  #retry: NodeJS.Timeout | undefined
  #lookedAtMs = performance.now()
  #rotateFromMs = 0
  #onIdle: (() => void) | undefined

  /** @throws what the system says when it cannot be opened */
  constructor(path: string, options: AuditFileOptions) {
    this.#path = path
    this.#options = options
    this.#open = this.#opened()
  }

  /** Why nothing can be written now. */
  get problem(): Error | undefined {
    return this.#problem
  }

  get heldBytes(): number {
    return this.#waiting.length + this.#batch.length - this.#writtenBytes
  }

  append(text: string): void {
    this.#waiting += text
    if (!this.#isWriting && this.#problem === undefined) this.#next()
  }

  /** Sets the file aside where that is due. Answers with the names, and undefined where nothing was done. */
  rotateIfDue(): { from: string; deleted: string[] } | undefined {
    const { maxBytes, maxMs, keep } = this.#options
    if (this.#open === undefined || this.#isWriting || this.heldBytes > 0) return undefined
    try {
      this.#lookAfter()
    } catch (error) {
      // Its folder is gone as well.
      this.#fail(error as Error)
      return undefined
    }
    const { bytes, bornMs } = this.#open
    const isDue = bytes >= maxBytes || (bytes > 0 && Date.now() - bornMs >= maxMs)
    if (!isDue || performance.now() < this.#rotateFromMs) return undefined
    let names: { from: string; deleted: string[] }
    try {
      names = rotate(this.#path, keep)
    } catch (error) {
      // It can still be written to.
      this.#rotateFromMs = performance.now() + ROTATE_AGAIN_MS
      this.#options.failed(error as Error)
      return undefined
    }
    try {
      this.#reopen()
    } catch (error) {
      this.#fail(error as Error)
    }
    return names
  }

  /** Resolves when everything is written, or cannot be. */
  async close(): Promise<void> {
    await this.#isIdle()
    // It may have failed a moment ago, and have room now.
    if (this.heldBytes > 0) this.#tryAgain()
    await this.#isIdle()
    clearTimeout(this.#retry)
    const { descriptor } = this.#open ?? {}
    this.#open = undefined
    if (descriptor !== undefined) await new Promise((resolve) => close(descriptor, resolve))
  }

  #isIdle(): Promise<void> {
    if (!this.#isWriting) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onIdle = resolve
    })
  }

  #opened(): Open {
    const descriptor = openSync(this.#path, 'a', 0o600)
    const { ino, size, birthtimeMs } = fstatSync(descriptor)
    const isOther = this.#inode !== ino
    this.#inode = ino
    if (isOther) {
      // A line begins here anew; and what a crash has left of another one is a line of its own.
      const start = this.#batch.lastIndexOf(NEWLINE, this.#writtenBytes - 1) + 1
      const before = isTorn(this.#path) ? '\n' : ''
      this.#batch = Buffer.concat([Buffer.from(before), this.#batch.subarray(this.#writtenBytes && start)])
      this.#writtenBytes = 0
    }
    return { descriptor, bytes: size, bornMs: size === 0 ? Date.now() : birthtimeMs }
  }

  #reopen(): void {
    if (this.#open !== undefined) closeSync(this.#open.descriptor)
    this.#open = undefined
    this.#open = this.#opened()
  }

  /** Lines that go into a file that somebody has deleted are lost without an error. */
  #lookAfter(): void {
    const now = performance.now()
    if (this.#open === undefined || now - this.#lookedAtMs < LOOK_MS) return
    this.#lookedAtMs = now
    if (fstatSync(this.#open.descriptor).nlink === 0) this.#reopen()
  }

  #next(): void {
    if (this.#writtenBytes === this.#batch.length) {
      this.#batch = Buffer.from(this.#waiting)
      this.#writtenBytes = 0
      this.#waiting = ''
    }
    const open = this.#open
    if (open === undefined) return this.#idle()
    if (this.#batch.length === 0) {
      this.#works()
      return this.#idle()
    }
    this.#isWriting = true
    const { descriptor } = open
    write(descriptor, this.#batch, this.#writtenBytes, undefined, null, (error, count) => {
      if (error !== null) return this.#fail(error)
      this.#writtenBytes += count
      open.bytes += count
      this.#next()
    })
  }

  #works(): void {
    if (this.#problem === undefined) return
    this.#problem = undefined
    this.#options.recovered()
  }

  #idle(): void {
    this.#isWriting = false
    this.#onIdle?.()
  }

  #fail(error: Error): void {
    const isNew = this.#problem === undefined
    this.#problem = error
    this.#retry = setTimeout(() => this.#tryAgain(), RETRY_MS).unref()
    this.#idle()
    if (isNew) this.#options.failed(error)
  }

  #tryAgain(): void {
    clearTimeout(this.#retry)
    try {
      this.#reopen()
    } catch (error) {
      return this.#fail(error as Error)
    }
    this.#next()
  }
}
