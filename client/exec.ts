import type { Writable } from 'node:stream'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { StreamEvent } from '../protocol/codec/heads.ts'
import { readTraceContext } from '../protocol/codec/trace-context.ts'
import { checkAsked } from './asked.ts'
import { Deadline } from './deadline.ts'
import type { ExchangeStream } from './exchange.ts'
import { type NewStreamHead, openInPlace, openWithBody } from './opening.ts'
import { retryDecision } from './outcome.ts'
import { configInvalid } from './queue/errors.ts'
import type { RequestPath } from './request.ts'
import { shellWord } from './shell-words.ts'
import type { TraceOptions } from './tracing.ts'
import { type BodyLike, isBody } from './upload.ts'

export interface ExecOptions extends TraceOptions {
  /** @default none: the command reads the end of its input at once */
  stdin?: BodyLike
  /** Where output goes as it comes, at that stream's pace; it is not ended. @default kept for the result */
  stdout?: Writable
  stderr?: Writable
  /** Ends the command's channel. */
  signal?: AbortSignal
  /** Told, when the command has begun, what sends it a signal by its SSH name, such as 'INT'; of no effect once its input has ended. */
  control?: (sendSignal: (name: string) => void) => void
  /** Until the command has begun, in ms. @default settings.request.timeoutMs */
  timeoutMs?: number
  /** More output than this in memory ends in an error. @default 67_108_864 */
  maxBufferBytes?: number
}

export interface ExecResult {
  /** Empty where it went to a stream. */
  stdout: Buffer
  stderr: Buffer
  /** Null when a signal ended the command. */
  exitCode: number | null
  /** Without SIG, as SSH names it (RFC 4254, section 6.10). */
  signal: string | null
}

const MAX_BUFFER_BYTES = 67_108_864

/** One line for the machine's shell that runs `command` word by word; a string is a line already. */
export function commandLine(command: string | readonly string[]): string {
  if (typeof command === 'string' && command !== '') return command
  if (!Array.isArray(command) || command.length === 0) throw configInvalid('command: it is missing')
  return command.map((word) => shellWord(String(word))).join(' ')
}

/** Runs a command. @throws {TunnelError} when it could not be run, or its outcome is not known */
export async function exec(
  path: RequestPath,
  defaultTimeoutMs: number,
  machine: string,
  command: string | readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const asked = { machine, exec: { command: commandLine(command) } }
  const head: NewStreamHead = { kind: 'exec', ...asked, ...readTraceContext(options) }
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs
  checkAsked({ machine, timeoutMs })
  if (!isBody(options.stdin)) throw configInvalid('stdin: is not text, bytes, a Blob or a stream')
  const deadline = new Deadline(
    path.clock,
    options.signal,
    timeoutMs,
    `the command on ${machine} did not begin`,
  )
  try {
    return await openInPlace(
      path.queue,
      'normal',
      deadline,
      (release) => new Command(path, head, options, deadline, release).result,
    )
  } catch (error) {
    throw asTunnelError(error, 'client')
  } finally {
    deadline.end()
  }
}

class Command {
  readonly result: Promise<ExecResult>
  readonly #path: RequestPath
  readonly #stream: ExchangeStream
  readonly #deadline: Deadline
  readonly #kept: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] }
  readonly #maxBufferBytes: number
  #keptBytes = 0
  #writing = 0
  #ended = false
  #exit: { code: number } | { signal: string } | undefined
  #resolve!: (result: ExecResult) => void
  #reject!: (error: TunnelError) => void

  constructor(
    path: RequestPath,
    head: NewStreamHead,
    options: ExecOptions,
    deadline: Deadline,
    release: () => void,
  ) {
    this.#path = path
    this.#deadline = deadline
    this.#maxBufferBytes = options.maxBufferBytes ?? MAX_BUFFER_BYTES
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    const { stream, upload, startUpload } = openWithBody(path.open, head, options.stdin)
    this.#stream = stream
    const giveUp = () => stream.reset(deadline.reason as TunnelError)
    stream.handle({
      accepted: () => {
        deadline.stopTimer()
        options.control?.((name) => stream.event?.({ signal: name }))
      },
      data: (chunk) => this.#take(chunk, 'stdout', options.stdout),
      aux: (chunk) => this.#take(chunk, 'stderr', options.stderr),
      event: (event) => this.#event(event),
      drained: () => upload.drained(),
      ended: () => {
        this.#ended = true
        upload.stop()
        stream.end()
        this.#settle()
      },
      closed: (error) => {
        upload.stop()
        deadline.offGivenUp(giveUp)
        release()
        if (!this.#ended) {
          this.#reject(this.#decision(error))
        }
      },
    })
    deadline.onGivenUp(giveUp)
    startUpload()
  }

  #event(event: StreamEvent): void {
    if ('exit' in event) this.#exit = event.exit
  }

  #take(chunk: Uint8Array, name: 'stdout' | 'stderr', to: Writable | undefined): void {
    this.#deadline.stopTimer()
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    if (to === undefined) return this.#keep(bytes, name)
    this.#writing++
    // Credit comes back when the stream has dealt with the bytes: its pace is the command's.
    to.write(bytes, (error) => {
      this.#writing--
      if (error)
        this.#fail(new TunnelError('ABORTED', `${name} takes no more`, { cause: error, hop: 'client' }))
      else this.#stream.consumed(bytes.length)
      this.#settle()
    })
  }

  #keep(bytes: Buffer, name: 'stdout' | 'stderr'): void {
    this.#keptBytes += bytes.length
    if (this.#keptBytes > this.#maxBufferBytes) {
      const what = `the command wrote more than ${this.#maxBufferBytes} bytes; give it streams`
      return this.#fail(new TunnelError('ABORTED', what, { hop: 'client' }))
    }
    this.#kept[name].push(bytes)
    this.#stream.consumed(bytes.length)
  }

  #fail(error: TunnelError): void {
    this.#reject(error)
    this.#stream.reset(error)
  }

  /** A command is never run again by itself. */
  #decision(error: TunnelError | undefined): TunnelError {
    if (error === undefined)
      return new TunnelError('FRAME_INVALID', 'the command ended without a status', { hop: 'proxy' })
    const progress = this.#stream.openedAtMs === undefined ? 'unsent' : 'sent'
    const final = this.#path.final(error)
    const decision = retryDecision({
      ...{ error, progress, final },
      ...{ tries: 1, idempotent: false, replayable: false },
    })
    return decision === 'retry' ? error : decision
  }

  /** The result is there when the command has ended and all its output has been taken. */
  #settle(): void {
    if (!this.#ended || this.#writing > 0) return
    const { stdout, stderr } = this.#kept
    this.#resolve({
      stdout: Buffer.concat(stdout),
      stderr: Buffer.concat(stderr),
      exitCode: this.#exit !== undefined && 'code' in this.#exit ? this.#exit.code : null,
      signal: this.#exit !== undefined && 'signal' in this.#exit ? this.#exit.signal : null,
    })
  }
}
