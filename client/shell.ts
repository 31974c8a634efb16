import type { Readable } from 'node:stream'
import {
  isEnvironment,
  isTerminalLength,
  isTermName,
  type StreamEvent,
  type Terminal,
  type TerminalSize,
} from '../protocol/codec/heads.ts'
import type { StreamDuplex } from '../protocol/node/duplex.ts'
import type { DuplexPath } from './opening.ts'
import { configInvalid } from './queue/errors.ts'
import { openDuplex, type StreamOptions } from './raw-stream.ts'

/** With `columns`, `rows` and `term` the shell runs on a terminal of that size; with none of them it has plain pipes. */
export interface ShellOptions extends StreamOptions, Partial<Terminal> {
  /** Variables for it, of which the machine's sshd takes those that its AcceptEnv names. */
  env?: Record<string, string>
}

/** How a shell ended: its status, or the signal's name without SIG (RFC 4254, section 6.10). */
export type ShellExit = { code: number } | { signal: string }

const TERMINAL: Terminal = { columns: 80, rows: 24, term: 'dumb' }

/** A login shell that runs on a machine. */
export class Shell {
  /** Its input, and what it writes. */
  readonly stream: StreamDuplex
  /** What it writes to stderr, without a terminal; it has to be read. */
  readonly stderr: Readable
  #exit: ShellExit | undefined

  constructor(stream: StreamDuplex, stderr: Readable) {
    this.stream = stream
    this.stderr = stderr
    stream.on('streamEvent', (event: StreamEvent) => {
      if ('exit' in event) this.#exit = event.exit
    })
  }

  /** Known when `stream` has ended; a stream that ends in an error has none. */
  get exit(): ShellExit | undefined {
    return this.#exit
  }

  /**
   * The terminal has another size now; of no effect without one, or once the input has ended.
   * @throws {TunnelError} CONFIG_INVALID
   */
  resize({ columns, rows }: TerminalSize): void {
    checkSize({ columns, rows })
    this.stream.stream.event({ resize: { columns, rows } })
  }

  /** @param name as SSH has it, such as 'INT'; of no effect once the input has ended */
  signal(name: string): void {
    this.stream.stream.event({ signal: name })
  }
}

/** @throws {TunnelError} CONFIG_INVALID */
function checkSize({ columns, rows }: TerminalSize): void {
  for (const [name, length] of Object.entries({ columns, rows }))
    if (!isTerminalLength(length))
      throw configInvalid(`${name} = ${JSON.stringify(length)}: is not a whole number from 1 to 65535`)
}

/** Resolves when the shell runs. @throws {TunnelError} */
export async function openShell(
  way: DuplexPath,
  machine: string,
  { columns, rows, term, env, priority = 'high', ...options }: ShellOptions = {},
): Promise<Shell> {
  const isPlain = columns === undefined && rows === undefined && term === undefined
  const { columns: width, rows: height, term: type } = TERMINAL
  const terminal: Terminal = { columns: columns ?? width, rows: rows ?? height, term: term ?? type }
  checkSize(terminal)
  if (typeof terminal.term !== 'string' || !isTermName(terminal.term))
    throw configInvalid(`term = ${JSON.stringify(term)}: is not 1 to 64 visible ASCII characters`)
  if (env !== undefined && !isEnvironment(env))
    throw configInvalid('env: a name or a value that no variable can have')
  const shell = { ...(!isPlain && { terminal }), ...(env !== undefined && { env }) }
  const head = { kind: 'shell', machine, shell } as const
  const stream = await openDuplex(way, head, { ...options, priority }, true)
  return new Shell(stream, stream.aux as Readable)
}
