import { fstatSync, writeSync } from 'node:fs'
import type { Writable } from 'node:stream'

/** What may wait for a reader that is slow, in characters; beyond it lines are dropped and counted. */
const MAX_WAITING = 1_048_576

type Done = (error?: Error | null) => void
/** Writes a line and calls `done` once; never throws. */
type Sink = (line: string, done: Done) => void

/**
 * Where the log goes. Logging never stops the proxy: a full disk, a terminal that has gone and a pipe that nobody reads
 * cost lines, and no more. The lines lost are counted, and told in the log as soon as it can be written again.
 */
export class LogOutput {
  readonly #sink: Sink
  #lost = 0
  #lostInAll = 0
  #telling = false
  #reason: string | undefined

  constructor(sink: Sink) {
    this.#sink = sink
  }

  /** What is wrong with the log now. */
  get problem(): string | undefined {
    return this.#reason === undefined ? undefined : `the log cannot be written (${this.#reason})`
  }

  /** Lines that could not be written, since the start. */
  get lostLines(): number {
    return this.#lostInAll
  }

  write(line: string): void {
    if (this.#lost > 0 && !this.#telling) this.#tell(this.#lost)
    this.#sink(line, this.#done)
  }

  #tell(lines: number): void {
    this.#telling = true
    this.#sink(lostLine(lines, this.#reason), (error) => {
      this.#telling = false
      if (!error) this.#lost -= lines
    })
  }

  readonly #done: Done = (error) => {
    this.#reason = error ? reasonOf(error) : undefined
    if (!error) return
    this.#lost++
    this.#lostInAll++
  }
}

function lostLine(lines: number, reason: string | undefined): string {
  const timestamp = new Date().toISOString()
  const message = 'lines of the log were lost'
  return `${JSON.stringify({ level: 'WARN', timestamp, context: { lines, reason }, message })}\n`
}

function reasonOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.message
}

/** Writes at once: a file does not keep its writer waiting. */
export function fileSink(fd: number): Sink {
  let isTorn = false
  return (line, done) => {
    // The rest of a line for which the disk had no room would swallow this one.
    const bytes = Buffer.from(isTorn ? `\n${line}` : line)
    let written = 0
    try {
      while (written < bytes.length) written += writeSync(fd, bytes, written)
      isTorn = false
    } catch (error) {
      isTorn ||= written > 0
      return done(error as Error)
    }
    done()
  }
}

/** A pipe, a socket or a terminal: what its reader does not take waits, up to a limit. */
export function streamSink(stream: Writable, maxWaiting = MAX_WAITING): Sink {
  // Each write hears of its own error.
  stream.on('error', () => {})
  const together = new Together(stream)
  return (line, done) => {
    if (stream.writableLength + line.length > maxWaiting)
      return done(new Error('its reader does not keep up'))
    together.next()
    stream.write(line, done)
  }
}

/** Lines of one turn of the event loop that are written at once; those that follow in it are written together. */
const LINES_AT_ONCE = 8

/** When thousands of links end in one moment, a system call for each line is most of what that takes. */
class Together {
  readonly #stream: Writable
  #lines = 0

  constructor(stream: Writable) {
    this.#stream = stream
  }

  /** Before each line. */
  next(): void {
    this.#lines++
    if (this.#lines === 1) setImmediate(this.#over)
    if (this.#lines !== LINES_AT_ONCE) return
    this.#stream.cork()
    process.once('exit', this.#over)
  }

  readonly #over = (): void => {
    const isCorked = this.#lines >= LINES_AT_ONCE
    this.#lines = 0
    if (!isCorked) return
    process.off('exit', this.#over)
    this.#stream.uncork()
  }
}

/** The log on standard output, whatever that is. */
export function logToStdout(): LogOutput {
  return logTo('stdout')
}

/** @param format makes of a line what is written. @default the line itself */
export function logTo(name: 'stdout' | 'stderr', format?: (line: string) => string): LogOutput {
  const sink = sinkOf(name)
  return new LogOutput(format === undefined ? sink : (line, done) => sink(format(line), done))
}

function sinkOf(name: 'stdout' | 'stderr'): Sink {
  const stream = process[name]
  if (isFile(stream)) return fileSink(stream.fd)
  // Node makes a terminal blocking: one that was stopped with Ctrl-S would stop the proxy.
  const { _handle } = stream as { _handle?: { setBlocking?(blocking: boolean): unknown } }
  if (stream.isTTY) _handle?.setBlocking?.(false)
  return streamSink(stream)
}

function isFile({ fd, isTTY }: NodeJS.WriteStream & { fd: number }): boolean {
  try {
    const stat = fstatSync(fd)
    return stat.isFile() || (stat.isCharacterDevice() && !isTTY)
  } catch {
    return false
  }
}
