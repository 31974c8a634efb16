import { paint } from '../output.ts'
import { tell } from '../prose.ts'

/** What the demo found, for a program. */
export interface Finding {
  /** Title of the chapter. */
  step: string
  ok: boolean
  text: string
}

/** What follows a mark is indented, in columns. */
const HANG = 2

/** What the person sees: marks and colours on a terminal, plain lines in a pipe. */
export class Narrator {
  readonly findings: Finding[] = []
  readonly #out = process.stdout
  readonly #paint = paint(process.stdout)
  #silent: boolean
  #failures = 0
  #chapters = 0
  #showsProgress = false
  #step = 'setup'

  /** @param silent only the findings are kept */
  constructor(silent = false) {
    this.#silent = silent
  }

  get failures(): number {
    return this.#failures
  }

  get isTerminal(): boolean {
    return this.#out.isTTY === true
  }

  /** After Ctrl-C the steps that it interrupts have nothing to add. */
  silence(): void {
    this.#clearProgress()
    this.#silent = true
  }

  line(text = ''): void {
    this.#clearProgress()
    if (!this.#silent) tell(`${text}\n`, this.#out, HANG)
  }

  title(text: string): void {
    this.line(this.#paint.bold(text))
  }

  chapter(text: string): void {
    this.#step = text
    this.line(`\n${this.#paint.bold(`${++this.#chapters}. ${text}`)}`)
  }

  command(text: string): void {
    this.line(`   ${this.#paint.cyan(`$ ${text}`)}`)
  }

  said(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.line(`   ${line}`)
  }

  done(text: string): void {
    this.findings.push({ step: this.#step, ok: true, text })
    this.line(`   ${this.#paint.green(this.isTerminal ? '✓' : 'ok:')} ${text}`)
  }

  failed(text: string): void {
    this.#failures++
    this.findings.push({ step: this.#step, ok: false, text })
    this.line(`   ${this.#paint.red(this.isTerminal ? '✗' : 'FAILED:')} ${text}`)
  }

  /** One outcome, told as done or as failed. */
  check(holds: boolean, done: string, otherwise: string): void {
    if (holds) this.done(done)
    else this.failed(otherwise)
  }

  /** Text that a terminal shows as it grows, and a pipe not at all. */
  live(text: string): void {
    if (this.isTerminal && !this.#silent) this.#out.write(text)
  }

  /** A line that a terminal shows until the next one takes its place, and a pipe not at all. */
  progress(text: string): void {
    this.#clearProgress()
    this.live(`   ${text}`)
    this.#showsProgress = true
  }

  #clearProgress(): void {
    if (this.#showsProgress) this.live('\r\u001b[K')
    this.#showsProgress = false
  }
}
