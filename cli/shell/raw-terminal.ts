import { spawnSync } from 'node:child_process'
import type { ReadStream, WriteStream } from 'node:tty'
import type { TerminalSize } from '../../protocol/codec/heads.ts'

/** What a terminal has that does not know its size. */
const DEFAULT_SIZE: TerminalSize = { columns: 80, rows: 24 }

/** How long stty(1) may take, in ms; without it lines still end where they should. */
const STTY_MS = 1_000

/**
 * The person's terminal while each key goes to a program elsewhere. However this process ends or is stopped, a kill -9
 * aside, the terminal is left as it was found.
 */
export class RawTerminal {
  readonly #input: ReadStream
  readonly #screen: WriteStream | undefined
  readonly #onResize: (size: TerminalSize) => void
  #isRaw = false

  /** @param onResize told the size whenever it may have changed */
  constructor(onResize: (size: TerminalSize) => void) {
    this.#input = process.stdin
    this.#screen = screen()
    this.#onResize = onResize
  }

  enter(): void {
    this.#setRaw(true)
    process.on('exit', this.#restore)
    process.on('SIGTSTP', this.#suspend)
    process.on('SIGCONT', this.#continued)
    this.#screen?.on('resize', this.#resized)
    // It may have changed while the connection was made.
    this.#resized()
  }

  /** Safe to call twice. */
  leave(): void {
    process.off('exit', this.#restore)
    process.off('SIGTSTP', this.#suspend)
    process.off('SIGCONT', this.#continued)
    this.#screen?.off('resize', this.#resized)
    this.#restore()
  }

  /** Stops this job, as Ctrl-Z does elsewhere; the terminal is ours again when the job is continued. */
  suspend(): void {
    this.#suspend()
  }

  readonly #suspend = (): void => {
    this.#restore()
    // Without a listener the signal does what it always does. To the whole job: npx and npm wait for us in it.
    process.off('SIGTSTP', this.#suspend)
    process.kill(0, 'SIGTSTP')
  }

  readonly #continued = (): void => {
    process.off('SIGTSTP', this.#suspend)
    process.on('SIGTSTP', this.#suspend)
    // A SIGSTOP gave no chance to restore it, and the shell has set it since: off first, or it would be taken for raw.
    this.#setRaw(false)
    this.#setRaw(true)
    // A job that is stopped is told no size: Node looks when it hears this signal.
    process.kill(process.pid, 'SIGWINCH')
  }

  readonly #resized = (): void => this.#onResize(terminalSize())

  readonly #restore = (): void => {
    if (this.#isRaw) this.#setRaw(false)
  }

  #setRaw(isRaw: boolean): void {
    this.#isRaw = isRaw
    try {
      this.#input.setRawMode(isRaw)
      // Node leaves a terminal's output processing on, and a full-screen program's line feed means straight down.
      if (isRaw) spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'], timeout: STTY_MS })
    } catch {
      // The terminal has been closed: there is nothing left to restore.
    }
  }
}

function screen(): WriteStream | undefined {
  return [process.stdout, process.stderr].find((output) => output.isTTY)
}

/** Of the terminal on stdout or stderr. */
export function terminalSize(): TerminalSize {
  const { columns, rows } = screen() ?? DEFAULT_SIZE
  return { columns: columns || DEFAULT_SIZE.columns, rows: rows || DEFAULT_SIZE.rows }
}
