import { createInterface } from 'node:readline'
import { killTree } from '../../support/proc.ts'
import { Program } from '../../support/process.ts'
import { LineCount } from '../programs/counter.ts'
import { lastWords } from '../programs/program.ts'
import { EchoDelays } from './echo-delays.ts'

/** Lines that nobody has answered, at most: a session that is broken is not typed into without end. */
const MAX_UNANSWERED = 3_000

/** A stock `ssh` with a `cat` at the far end, into which numbered lines are typed all the time. */
export class Typist {
  readonly delays = new EchoDelays()
  readonly ssh: Program
  readonly #count = new LineCount('echo')
  readonly #timer: NodeJS.Timeout
  #typed = 0
  #isPaused = false
  #ended = false

  /** @param command the whole command line of ssh, whose last word is run by the far side */
  constructor(command: readonly string[], env: NodeJS.ProcessEnv, gapMs: number) {
    const [program = 'ssh', ...args] = command
    this.ssh = new Program(program, args, { env, stdin: 'pipe', onStdout: () => {} })
    createInterface({ input: this.ssh.child.stdout! }).on('line', (line) => {
      this.#count.take(line)
      this.delays.echoed(this.#count.count)
    })
    this.#timer = setInterval(() => this.#type(), gapMs)
    void this.ssh.exit.then(() => clearInterval(this.#timer))
  }

  /** The first echo has come. */
  get isThere(): boolean {
    return this.#count.count > 0
  }

  /** What is wrong with it, or undefined. */
  get fault(): string | undefined {
    if (this.#count.fault !== undefined) return this.#count.fault
    if (this.ssh.running) return undefined
    const { count } = this.#count
    if (this.#ended && count === this.#typed) return undefined
    return `typed ${this.#typed}, echoed ${count}, then it ended: ${lastWords(this.ssh.stderr)}`
  }

  #type(): void {
    if (this.#ended || this.#isPaused || this.#typed - this.#count.count > MAX_UNANSWERED) return
    const number = ++this.#typed
    this.delays.typed(number)
    this.ssh.write(`${this.#count.line(number)}\n`)
  }

  /** Nobody types for a while. */
  pause(): void {
    this.#isPaused = true
  }
  resume(): void {
    this.#isPaused = false
  }

  /** Types no more, and waits until everything has come back. */
  async end(): Promise<void> {
    this.#ended = true
    this.ssh.end()
    await this.ssh.exit
  }

  kill(): void {
    clearInterval(this.#timer)
    killTree(this.ssh.pid)
  }
}
