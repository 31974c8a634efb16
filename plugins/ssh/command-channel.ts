import type { Duplex, Readable } from 'node:stream'
import type { PseudoTtyOptions } from 'ssh2'
import type { Terminal } from '../../protocol/codec/heads.ts'

/** How a command ended: its status, or the signal's name without SIG (RFC 4254, section 6.10). */
export type CommandExit = { code: number } | { signal: string }

/** A command or a shell that runs: its stdin and stdout, and beside them what SSH has for it. */
export interface CommandChannel extends Duplex {
  readonly stderr: Readable
  /** @param name without SIG (RFC 4254, section 6.9); nothing is sent after the end of stdin */
  signal(name: string): void
  /** The terminal has another size now, in characters, then in pixels (0: not known); nothing is sent after the end of stdin. */
  setWindow(rows: number, columns: number, height: number, width: number): void
}

/** Without a size in pixels, which nobody asks for, and with the modes that the far side gives a terminal. */
export function windowOf({ term, columns, rows }: Terminal): PseudoTtyOptions {
  return { term, cols: columns, rows, height: 0, width: 0 }
}

/** What a machine may call a signal; it comes from its sshd, unchecked. */
const SIGNAL_NAME = /^[A-Za-z0-9@._-]{1,64}$/

/** As ssh2 tells it. */
export function exitOf(code: number | null, signal: string | undefined): CommandExit {
  if (code !== null) return { code }
  const name = signal?.replace(/^SIG/, '') ?? ''
  return { signal: SIGNAL_NAME.test(name) ? name : 'KILL' }
}
