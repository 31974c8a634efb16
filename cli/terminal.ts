import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { columnsOf } from './output.ts'
import { fold } from './prose.ts'

const STDERR = 2
/** How long ps and stty may take, in ms. */
const ASK_MS = 1_000

/** Of /proc/PID/stat: whether the process is in the foreground of its terminal; undefined for other text. */
export function isForegroundStat(stat: string): boolean | undefined {
  // The second field is a name in brackets that may hold anything, so fields are counted from its end.
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return foreground === undefined ? undefined : group === foreground
}

/** Whether the terminal is this process's to write to: another job of its shell may have it. */
function isForeground(): boolean {
  try {
    const found = isForegroundStat(readFileSync('/proc/self/stat', 'latin1'))
    if (found !== undefined) return found
  } catch {
    // No Linux.
  }
  try {
    const state = execFileSync('ps', ['-o', 'stat=', '-p', String(process.pid)], { timeout: ASK_MS })
    return state.toString().includes('+')
  } catch {
    return true
  }
}

/** Whether what is typed goes to a program on the machine, key by key: such a program may use the whole screen. */
function isRaw(): boolean {
  const { stdout } = spawnSync('stty', ['-a'], { stdio: [STDERR, 'pipe', 'ignore'], timeout: ASK_MS })
  return /(^|\s)-icanon\b/.test(String(stdout ?? ''))
}

export interface Terminal {
  isForeground(): boolean
  isRaw(): boolean
  write(text: string): void
}

const stderrTerminal: Terminal = {
  isForeground,
  isRaw,
  write: (text) => void process.stderr.write(text),
}

/** For a terminal whose modes are not known. */
export function folded(text: string): string {
  return fold(text, columnsOf(process.stderr)).replaceAll('\n', '\r\n')
}

/** Terminals that would show a title as text. */
const NO_TITLE = /^(dumb|linux|)$/
const PUSH_TITLE = '\u001b[22;2t'
const POP_TITLE = '\u001b[23;2t'

/**
 * Tells a person at a terminal what becomes of a link. While a program on the machine has the screen, that is told in the
 * title of the window, for a line would stay among what that program shows. In the background it says nothing.
 */
export class Notices {
  readonly #terminal: Terminal
  readonly #hasTitle: boolean
  #inTitle = false

  constructor(terminal: Terminal = stderrTerminal, type = process.env.TERM ?? '') {
    this.#terminal = terminal
    this.#hasTitle = !NO_TITLE.test(type)
  }

  say(line: string): void {
    const terminal = this.#terminal
    if (!terminal.isForeground()) return
    if (!terminal.isRaw()) return terminal.write(`\r\n${folded(`tunnel: ${line}`)}\r\n`)
    if (!this.#hasTitle) return
    const push = this.#inTitle ? '' : PUSH_TITLE
    this.#inTitle = true
    terminal.write(`${push}\u001b]2;tunnel: ${line}\u0007`)
  }

  /** All is well again: the title is the former one. */
  over(): void {
    if (!this.#inTitle) return
    this.#inTitle = false
    if (this.#terminal.isForeground()) this.#terminal.write(POP_TITLE)
  }
}
