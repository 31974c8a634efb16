import { hash as digest, randomUUID } from 'node:crypto'
import {
  closeSync,
  createWriteStream,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  type WriteStream,
} from 'node:fs'
import { dirname } from 'node:path'

/** What is recorded of one event. Never a token, a key or payload. */
export interface AuditEvent {
  /** `area.what`, such as `resume.refused`. */
  event: string
  userId?: string
  machine?: string
  correlationId?: string
  details?: Record<string, string | number | boolean>
}

export interface AuditLine extends AuditEvent {
  timestamp: string
  /** One process' part of the file: two proxies may write to it while one takes over from the other. */
  chain: string
  /** From 0, without gaps. */
  sequence: number
  /** The hash of the line before in this chain; of the first line: of the last line that was there at the start. */
  previous: string
  /** SHA-256 of the line without this field, in hex. */
  hash: string
}

const NOTHING_BEFORE = '0'.repeat(64)
/** How often the file is written to at the most, in ms: under load a write for each line would cost more than the line. */
const WRITE_MS = 20
/** No line is longer; what is left of a longer file is not read at the start. */
const MAX_LINE_BYTES = 65_536

export function hashOf(line: Omit<AuditLine, 'hash'>): string {
  return sha256(JSON.stringify(line))
}

/** An append-only file of JSON lines, each of which holds the hash of the one before: a line cannot be taken out unseen. */
export class AuditTrail {
  readonly #file: string
  readonly #failed: (error: Error) => void
  #stream: WriteStream
  readonly #chain = randomUUID()
  #sequence = 0
  #previous: string
  /** Lines that are written together: at the end of this turn of the event loop, or WRITE_MS after the last write. */
  #pending = ''
  #wroteAtMs = Number.NEGATIVE_INFINITY
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param failed told when lines could not be written */
  constructor(file: string, failed: (error: Error) => void) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    this.#file = file
    this.#failed = failed
    this.#previous = lastHash(file)
    this.#stream = this.#open()
  }

  #open(): WriteStream {
    // What a full disk or a crash has left of a line is a line of its own: the next one must not go on in it.
    const torn = endsInLine(this.#file)
    const stream = createWriteStream(this.#file, { flags: 'a', mode: 0o600 })
    if (torn) stream.write('\n')
    // Each line that is lost is told by its own write.
    return stream.on('error', () => {})
  }

  record(event: AuditEvent): void {
    const line = {
      timestamp: new Date().toISOString(),
      chain: this.#chain,
      sequence: this.#sequence++,
      ...event,
      previous: this.#previous,
    }
    // Serialised once: the hash is of the line without it, and stands at its end.
    const json = JSON.stringify(line)
    const hash = sha256(json)
    this.#previous = hash
    if (this.#pending === '') this.#writeSoon()
    this.#pending += `${json.slice(0, -1)},"hash":"${hash}"}\n`
  }

  #writeSoon(): void {
    const waitMs = this.#wroteAtMs + WRITE_MS - performance.now()
    if (waitMs > 0) this.#timer = setTimeout(() => this.#write(), waitMs).unref()
    else setImmediate(() => this.#write())
  }

  #write(): void {
    const lines = this.#pending
    if (lines === '') return
    this.#pending = ''
    this.#wroteAtMs = performance.now()
    // A full disk ends a stream for good; it may have room again. The gap in the chain tells what is missing.
    if (this.#stream.destroyed) this.#stream = this.#open()
    this.#stream.write(lines, (error) => {
      if (error) this.#failed(error)
    })
  }

  /** Resolves when everything is written. */
  close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#write()
    return new Promise((resolve) => {
      if (this.#stream.destroyed) resolve()
      else this.#stream.end(() => resolve())
    })
  }
}

function lastHash(file: string): string {
  const last = tailOf(file, MAX_LINE_BYTES).trimEnd().split('\n').at(-1) ?? ''
  return last === '' ? NOTHING_BEFORE : sha256(last)
}

function endsInLine(file: string): boolean {
  const last = tailOf(file, 1)
  return last !== '' && last !== '\n'
}

/** The end of a plain file; of what is not there, or not a plain file, nothing. */
function tailOf(file: string, maxBytes: number): string {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
  try {
    const { size } = fstatSync(descriptor)
    const tail = Buffer.alloc(Math.min(size, maxBytes))
    readSync(descriptor, tail, 0, tail.length, size - tail.length)
    return tail.toString()
  } finally {
    closeSync(descriptor)
  }
}

function sha256(text: string): string {
  return digest('sha256', text)
}

/** The first line that does not fit, from 0, or undefined when every chain is whole and follows on one that is there. */
export function firstBrokenLine(text: string): number | undefined {
  const last = new Map<string, AuditLine>()
  const earlier = new Set([NOTHING_BEFORE])
  const lines = text.split('\n').filter((line) => line !== '')
  for (const [index, json] of lines.entries()) {
    let line: AuditLine
    try {
      line = JSON.parse(json) as AuditLine
    } catch {
      return index
    }
    const { hash, ...rest } = line
    const before = last.get(line.chain)
    const follows =
      before === undefined
        ? line.sequence === 0 && earlier.has(line.previous)
        : line.sequence === before.sequence + 1 && line.previous === before.hash
    if (hashOf(rest) !== hash || !follows) return index
    last.set(line.chain, line)
    earlier.add(sha256(json))
    // The file begins once.
    earlier.delete(NOTHING_BEFORE)
  }
  return undefined
}
