import { randomUUID } from 'node:crypto'
import { dirname } from 'node:path'
import { makeFolder } from '../../protocol/node/folders.ts'
import { AuditFile, type AuditFileOptions } from './file.ts'
import { lastHash } from './folder.ts'
import { type AuditEvent, sealed } from './line.ts'

/** How often the file is written to at the most, in ms: under load a write for each line would cost more than the line. */
const WRITE_MS = 20
/** Lines that wait for a disk that is full, in bytes; what comes then is counted and left out. */
const MAX_HELD_BYTES = 4_194_304

/**
 * An append-only file of JSON lines, each of which holds the hash of the one before, also when that stands in the file
 * before it or was written by another process: a line cannot be taken out unseen.
 */
export class AuditTrail {
  readonly #file: AuditFile
  readonly #chain = randomUUID()
  #sequence = 0
  #previous: string
  /** Lines that are written together: at the end of this turn of the event loop, or WRITE_MS after the last write. */
  #pending = ''
  #wroteAtMs = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #untoldLines = 0
  #lostLines = 0
  #failures = 0
  #closing: Promise<void> | undefined

  /** @throws what the system says when it cannot be opened */
  constructor(file: string, options: AuditFileOptions) {
    makeFolder(dirname(file))
    this.#previous = lastHash(file)
    this.#file = new AuditFile(file, {
      ...options,
      failed: (error) => {
        this.#failures++
        options.failed(error)
      },
    })
  }

  /** Why nothing can be written now. */
  get problem(): Error | undefined {
    return this.#file.problem
  }

  /** How often it began to be one that cannot be written. */
  get failures(): number {
    return this.#failures
  }

  /** Events that are in no line. */
  get lostLines(): number {
    return this.#lostLines
  }

  /** What the trail ends with now, for whoever wants to keep it elsewhere. */
  get head(): string {
    return this.#previous
  }

  record(event: AuditEvent): void {
    if (this.#file.heldBytes + this.#pending.length > MAX_HELD_BYTES) {
      this.#lostLines++
      this.#untoldLines++
      return
    }
    if (this.#pending === '') this.#beforeBatch()
    this.#append(event)
  }

  #beforeBatch(): void {
    this.#writeSoon()
    const rotated = this.#file.rotateIfDue()
    if (rotated !== undefined) {
      const { from, deleted } = rotated
      const details = deleted.length === 0 ? { from } : { from, deleted: deleted.join(' ') }
      this.#append({ event: 'audit.rotated', details })
    }
    if (this.#untoldLines === 0) return
    this.#append({ event: 'audit.lost', details: { lines: this.#untoldLines } })
    this.#untoldLines = 0
  }

  #append(event: AuditEvent): void {
    const place = { chain: this.#chain, sequence: this.#sequence++, previous: this.#previous }
    const { text, hash } = sealed(new Date().toISOString(), place, event)
    this.#previous = hash
    this.#pending += `${text}\n`
  }

  #writeSoon(): void {
    const waitMs = this.#wroteAtMs + WRITE_MS - performance.now()
    if (waitMs > 0) this.#timer = setTimeout(() => this.#write(), waitMs).unref()
    else setImmediate(() => this.#write())
  }

  #write(): void {
    if (this.#pending === '') return
    const lines = this.#pending
    this.#pending = ''
    this.#wroteAtMs = performance.now()
    this.#file.append(lines)
  }

  /** Resolves when everything is written, or cannot be. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.record({ event: 'audit.closed' })
    clearTimeout(this.#timer)
    this.#write()
    await this.#file.close()
  }
}
