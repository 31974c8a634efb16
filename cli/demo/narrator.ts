import { paint } from '../output.ts'

/** What the person sees: marks and colours on a terminal, plain lines in a pipe. */
export class Narrator {
  readonly #out = process.stdout
  readonly #paint = paint(process.stdout)
  #silent = false
  #failures = 0
  #chapters = 0

  get failures(): number {
    return this.#failures
  }

  get isTerminal(): boolean {
    return this.#out.isTTY === true
  }

  /** After Ctrl-C the steps that it interrupts have nothing to add. */
  silence(): void {
    this.#silent = true
  }

  line(text = ''): void {
    if (!this.#silent) this.#out.write(`${text}\n`)
  }

  title(text: string): void {
    this.line(this.#paint.bold(text))
  }

  chapter(text: string): void {
    this.line(`\n${this.#paint.bold(`${++this.#chapters}. ${text}`)}`)
  }

  command(text: string): void {
    this.line(`   ${this.#paint.cyan(`$ ${text}`)}`)
  }

  said(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.line(`   ${line}`)
  }

  note(text: string): void {
    this.line(`   ${this.#paint.dim(text)}`)
  }

  done(text: string): void {
    this.line(`   ${this.#paint.green(this.isTerminal ? '✓' : 'ok:')} ${text}`)
  }

  failed(text: string): void {
    this.#failures++
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
}
