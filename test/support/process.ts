import { type ChildProcess, spawn } from 'node:child_process'
import { killTree } from './proc.ts'
import type { Scope } from './scope.ts'
import { findProgram } from './system.ts'

export interface ProgramOptions {
  env?: NodeJS.ProcessEnv
  cwd?: string
  /** Default 'ignore': the program reads end of file at once. */
  stdin?: 'ignore' | 'pipe'
  /** Takes stdout instead of collecting it, for output that is large. */
  onStdout?: (chunk: Buffer) => void
}

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** Makes the kernel end a program when the process that started it dies, however that dies; Linux only. */
const SETPRIV = process.platform === 'linux' ? findProgram('setpriv') : undefined

/** How much of each output is kept, in characters; the oldest goes first. */
const MAX_KEPT_CHARS = 4 * 1_048_576
/** How long `stop` waits for a program that was asked politely. */
const STOP_GRACE_MS = 5_000

type Output = 'stdout' | 'stderr'
interface Waiter {
  match: RegExp
  from: Output | 'any'
  found: (line: RegExpMatchArray) => void
  failed: (error: Error) => void
}

/** Whether what is caught reaches to the end of a line that is not over: of a number half of the digits may be here. */
function mayGrow(found: RegExpMatchArray): boolean {
  return found.length > 1 && (found.index ?? 0) + found[0].length === found.input?.length
}

/** A real program as a child process: its output by line, its end as a promise, killed with its scope. */
export class Program {
  readonly child: ChildProcess
  readonly pid: number
  /** Settles when the program is over and its output is complete. Never rejects. */
  readonly exit: Promise<Exit>
  stdout = ''
  stderr = ''
  readonly #name: string
  readonly #waiters = new Set<Waiter>()
  #exited: Exit | undefined

  constructor(command: string, args: readonly string[], options: ProgramOptions = {}) {
    this.#name = `${command} ${args.join(' ')}`.slice(0, 200)
    const leash = SETPRIV === undefined ? [] : [SETPRIV, '--pdeathsig', 'KILL']
    const [program = command, ...words] = [...leash, command, ...args]
    this.child = spawn(program, words, {
      env: options.env ?? process.env,
      cwd: options.cwd,
      stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    })
    this.pid = this.child.pid ?? 0
    this.child.stdin?.on('error', () => {}) // EPIPE: the exit tells the same story
    if (options.onStdout) this.child.stdout?.on('data', options.onStdout)
    else this.#collect('stdout')
    this.#collect('stderr')
    this.exit = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.stderr += `${error.message}\n`
        this.#over({ code: 127, signal: null }, resolve)
      })
      this.child.once('close', (code, signal) => this.#over({ code, signal }, resolve))
    })
  }

  get running(): boolean {
    return this.#exited === undefined
  }

  /** The first match, in what was written so far or will be, line by line; rejects when the program ends without it. */
  line(match: RegExp | string, from: Output | 'any' = 'any'): Promise<RegExpMatchArray> {
    const pattern =
      typeof match === 'string' ? new RegExp(match.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : match
    return new Promise((found, failed) => {
      const waiter: Waiter = { match: pattern, from, found, failed }
      this.#waiters.add(waiter)
      if (!this.#offer(waiter, 'stdout')) this.#offer(waiter, 'stderr')
      if (this.#exited) this.#fail(this.#exited)
    })
  }

  write(text: string | Uint8Array): boolean {
    return this.child.stdin?.write(text) ?? false
  }

  end(): void {
    this.child.stdin?.end()
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    if (this.running) this.child.kill(signal)
  }

  /** SIGTERM, and SIGKILL to it and all its descendants for one that does not go. */
  async stop(graceMs = STOP_GRACE_MS): Promise<Exit> {
    if (!this.running) return await this.exit
    const timer = setTimeout(() => killTree(this.pid), graceMs)
    this.kill('SIGTERM')
    try {
      return await this.exit
    } finally {
      clearTimeout(timer)
    }
  }

  #collect(output: Output): void {
    this.child[output]?.setEncoding('utf8').on('data', (text: string) => {
      this[output] = (this[output] + text).slice(-MAX_KEPT_CHARS)
      for (const waiter of this.#waiters) this.#offer(waiter, output)
    })
  }

  #offer(waiter: Waiter, output: Output): boolean {
    if (waiter.from !== 'any' && waiter.from !== output) return false
    const lines = this[output].split('\n')
    for (const [index, line] of lines.entries()) {
      const found = line.match(waiter.match)
      if (!found || (index === lines.length - 1 && this.running && mayGrow(found))) continue
      this.#waiters.delete(waiter)
      waiter.found(found)
      return true
    }
    return false
  }

  #over(exit: Exit, resolve: (exit: Exit) => void): void {
    if (this.#exited) return
    this.#exited = exit
    for (const waiter of this.#waiters) if (!this.#offer(waiter, 'stdout')) this.#offer(waiter, 'stderr')
    this.#fail(exit)
    resolve(exit)
  }

  #fail(exit: Exit): void {
    for (const waiter of this.#waiters) {
      const how = exit.signal ?? `status ${exit.code}`
      const output = `${this.stdout.slice(-2_000)}${this.stderr.slice(-2_000)}`
      waiter.failed(new Error(`${this.#name} ended (${how}) without ${waiter.match}:\n${output}`))
    }
    this.#waiters.clear()
  }
}

/** Starts a program that `scope` ends, with everything that it started. */
export function spawnProgram(
  scope: Scope,
  command: string,
  args: readonly string[],
  options?: ProgramOptions,
): Program {
  const program = new Program(command, args, options)
  scope.after(() => program.stop())
  return program
}

/** Runs a program to its end and gives what it said. */
export async function run(
  command: string,
  args: readonly string[],
  options: ProgramOptions & { input?: string | Uint8Array; signal?: AbortSignal } = {},
): Promise<Exit & { stdout: string; stderr: string }> {
  const program = new Program(command, args, {
    ...options,
    stdin: options.input === undefined ? 'ignore' : 'pipe',
  })
  const abort = () => killTree(program.pid)
  if (options.signal?.aborted) abort()
  options.signal?.addEventListener('abort', abort, { once: true })
  if (options.input !== undefined) program.child.stdin?.end(options.input)
  const exit = await program.exit
  options.signal?.removeEventListener('abort', abort)
  return { ...exit, stdout: program.stdout, stderr: program.stderr }
}

/** Like `run`, and throws with what the program said when it failed. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options?: Parameters<typeof run>[2],
): Promise<string> {
  const result = await run(command, args, options)
  if (result.code !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed (${result.signal ?? result.code}): ${result.stderr}`)
  }
  return result.stdout
}
