import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { describeFailure, EXIT, renderFailure } from '../failure.ts'
import { byteText, visible } from '../output.ts'
import { tellAside } from '../prose.ts'
import type { Checked } from './check.ts'
import type { Checksums } from './checksums.ts'
import type { CopyEvents, CopyRequest, CopyResult } from './copy.ts'
import type { Lanes } from './lanes.ts'
import { PART_SUFFIX } from './part-file.ts'
import { clockText, ProgressLine } from './progress.ts'
import { Unfinished } from './transfer.ts'

const NAME = 'tunnel cp'
/** Between two events of progress in JSON, in ms. */
const PROGRESS_MS = 1_000

export interface ReportOptions {
  json: boolean
  /** Told when nobody reads what is said. */
  abort: AbortController
}

/** What a person, or with `json` a program, is told of a copy. */
export class Report {
  readonly events: CopyEvents
  readonly #json: boolean
  readonly #abort: AbortController
  readonly #progress: ProgressLine | undefined
  readonly #kept: { part: string; bytes: number }[] = []
  /** Targets of files that are at work. */
  readonly #begun = new Set<string>()
  readonly #unchecked = new Map<Checked, number>()
  readonly #beganMs = performance.now()
  #lanes: Lanes | undefined
  #request: Pick<CopyRequest, 'from' | 'to'> | undefined
  #checksums: Checksums | undefined
  #name = ''
  #isPlanned = false
  #isChecking = false
  #doneBytes = 0
  #totalBytes = 0
  #resumedBytes = 0
  #timer: NodeJS.Timeout | undefined

  constructor({ json, abort }: ReportOptions) {
    this.#json = json
    this.#abort = abort
    process.stdout.once('error', () => abort.abort())
    if (!json && process.stderr.isTTY)
      this.#progress = new ProgressLine(process.stderr, () => this.#standing())
    this.events = {
      planned: ({ bytes, files, skipped }) => {
        this.#totalBytes = bytes
        this.#isPlanned = true
        this.#event('planned', { files: files.length, bytes })
        for (const path of skipped)
          this.say(`${NAME}: ${visible(path)} is an unfinished copy, and is left out`)
      },
      began: ({ source, target }) => {
        this.#isChecking = false
        this.#begun.add(target)
        this.#name = source
      },
      moved: (byteCount) => {
        this.#doneBytes += byteCount
      },
      checking: (path) => {
        this.#isChecking = this.#doneBytes >= this.#totalBytes
        this.#name = path
      },
      restarted: (target) => {
        this.#event('restarted', { target })
        this.say(
          `${NAME}: ${visible(this.#told(target))}: what an earlier copy left is of something else; all is copied again`,
        )
      },
      copied: ({ source, target }, { bytes, sha256, checked, resumedFrom }) => {
        this.#resumedBytes += resumedFrom
        this.#begun.delete(target)
        this.#unchecked.set(checked, (this.#unchecked.get(checked) ?? 0) + 1)
        this.#event('copied', { source, target, bytes, sha256, checked, resumedFrom })
      },
      failed: (error) => this.#failed(error),
    }
  }

  begin(request: CopyRequest, lanes: Lanes): void {
    this.#request = request
    this.#checksums = request.checksums
    this.#lanes = lanes
    if (!this.#json) return
    this.#timer = setInterval(
      () => this.#event('progress', { bytes: this.#doneBytes, of: this.#totalBytes, resumes: lanes.resumes }),
      PROGRESS_MS,
    ).unref()
  }

  /** Something may have been written. */
  get hasBegun(): boolean {
    return this.#request !== undefined
  }

  /** A line for a person. */
  say(text: string): void {
    if (this.#progress !== undefined) this.#progress.say(text)
    else if (!this.#json) tellAside(`${text}\n`)
  }

  /** The status of a copy that came to its end. */
  result(result: CopyResult): number {
    this.#kept.push(...result.kept)
    this.#progress?.end()
    const { files, bytes, failures, kept } = result
    const resumes = this.#lanes?.resumes ?? 0
    const seconds = (performance.now() - this.#beganMs) / 1_000
    this.#event(this.#abort.signal.aborted ? 'stopped' : 'done', {
      files,
      bytes,
      failures,
      resumes,
      resumedBytes: this.#resumedBytes,
      kept,
      seconds,
    })
    const parts = [
      `${files === 1 ? 'one file' : `${files} files`}, ${byteText(bytes)} in ${clockText(seconds)}`,
      ...(resumes > 0 ? [`resumed ${resumes === 1 ? 'once' : `${resumes} times`}`] : []),
      ...(this.#resumedBytes > 0 ? [`${byteText(this.#resumedBytes)} were there already`] : []),
      this.#checkedText(),
    ].filter((part) => part !== '')
    const isWorthALine = this.#progress !== undefined || resumes > 0 || this.#isDoubtful()
    if (files > 0 && isWorthALine) this.say(`${NAME}: ${parts.join('; ')}`)
    this.#tellKept()
    if (failures > 1) this.say(`${NAME}: ${failures} things were not copied as they should`)
    return failures > 0 ? EXIT.failure : EXIT.ok
  }

  /** Of a copy that an error ended: what the person is told, with what is left of it. */
  fatal(thrown: unknown): unknown {
    this.#progress?.end()
    const kept = thrown instanceof Unfinished ? thrown.kept : undefined
    const error = thrown instanceof Unfinished ? thrown.cause : thrown
    if (kept !== undefined) this.#kept.push(kept)
    if (this.#kept.length === 0) return error
    const { code, message, hop, cause } = asTunnelError(error, 'client')
    return new TunnelError(code, message, { hop, cause, suggestion: this.#keptText() })
  }

  /** It was ended by a signal. */
  stopped(): void {
    this.#progress?.end()
    if (this.#kept.length > 0) return
    // There was no time to put them in order.
    const [first] = this.#begun
    const left =
      first === undefined
        ? ''
        : `; ${visible(this.#told(first + PART_SUFFIX))} may be left, and the same command goes on from there`
    this.say(`${NAME}: stopped${left}`)
  }

  end(): void {
    clearInterval(this.#timer)
    this.#progress?.end()
  }

  #standing() {
    const standing = { name: this.#name, doneBytes: this.#doneBytes, totalBytes: this.#totalBytes }
    if (this.#lanes?.isInterrupted === true) return { ...standing, note: 'link lost, resuming…' }
    if (!this.#isPlanned) return { ...standing, note: 'preparing…' }
    return this.#isChecking ? { ...standing, note: 'checking…' } : standing
  }

  #failed(error: unknown): void {
    const failure = describeFailure(NAME, error)
    if (this.#json) process.stdout.write(`${JSON.stringify({ event: 'failed', ...failure })}\n`)
    else this.say(renderFailure(failure).trimEnd())
  }

  #event(event: string, more: object): void {
    if (this.#json) process.stdout.write(`${JSON.stringify({ event, ...more })}\n`)
  }

  #isDoubtful(): boolean {
    return (this.#unchecked.get('read back') ?? 0) > 0
  }

  #checkedText(): string {
    const readBack = this.#unchecked.get('read back') ?? 0
    if (readBack === 0) return this.#checksums === undefined ? 'not checked' : 'checksums are equal'
    const why = this.#checksums?.missing ?? 'its source changed'
    const how = this.#request?.from.isNear
      ? 'what arrived was read back and is right'
      : 'the copy is what arrived'
    return `no checksum from the machine (${visible(why)}): ${how}`
  }

  #told(target: string): string {
    return this.#request?.to.told(target) ?? target
  }

  #tellKept(): void {
    if (this.#kept.length > 0) this.say(`${NAME}: ${this.#keptText()}`)
  }

  #keptText(): string {
    const [first] = this.#kept
    const told = first === undefined ? '' : this.#told(first.part)
    if (this.#kept.length === 1 && first !== undefined)
      return `${byteText(first.bytes)} are kept in ${visible(told)}; the same command goes on from there`
    return `${this.#kept.length} part files are kept, such as ${visible(told)}; the same command goes on from there`
  }
}
