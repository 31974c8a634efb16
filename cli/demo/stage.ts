import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unwritable } from '../replace-file.ts'
import { selfCommand } from '../self.ts'

/** How long a child that was asked to end may take, in ms. */
const GRACE_MS = 3_000
/** How long any one thing that the demo waits for may take, in ms: on a computer that is busy, ten times what it takes. */
export const STEP_MS = 120_000
/** A proxy that does not refuse streams because the computer has other things to do. */
export const SERVER = ['server', '--set', 'health.maxLagMs=60000'] as const

export interface Finished {
  status: number
  stdout: string
  stderr: string
}

export interface RunOptions {
  input?: string
  /** Takes stdout in place of collecting it. */
  onStdout?: (chunk: Buffer) => void
}

function newFolder(): string {
  const begin = join(tmpdir(), 'tunnel-demo-')
  try {
    return mkdtempSync(begin)
  } catch (error) {
    throw unwritable(`${begin}…`, error)
  }
}

/** Everything that the demo makes, so that nothing of it outlives the demo, however it ends. */
export class Stage {
  readonly folder = newFolder()
  readonly #children = new Set<ChildProcess>()
  readonly #closers: (() => void | Promise<void>)[] = []
  readonly #env: NodeJS.ProcessEnv = {}
  #closed = false

  constructor() {
    // The person's own settings and tokens have no place in the demo.
    for (const [name, value] of Object.entries(process.env)) {
      if (!name.startsWith('TUNNEL_')) this.#env[name] = value
    }
    this.#env.TUNNEL_STATE_DIR = this.path('state')
    // Whatever happens to this process short of SIGKILL.
    process.once('exit', () => this.#wipe())
  }

  path(...names: string[]): string {
    return join(this.folder, ...names)
  }

  setEnv(name: string, value: string): void {
    this.#env[name] = value
  }

  onClose(close: () => void | Promise<void>): void {
    this.#closers.push(close)
  }

  /** A child that is ended with the stage. */
  spawn(program: string, args: string[], input = false): ChildProcess {
    if (this.#closed) throw new Error('the demo is over')
    const child = spawn(program, args, { env: this.#env, stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'] })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    child.once('error', () => this.#children.delete(child))
    return child
  }

  /** This very program as a child. */
  tunnel(args: string[], input = false): ChildProcess {
    const [program = '', ...own] = selfCommand()
    return this.spawn(program, [...own, ...args], input)
  }

  /** Runs this program to its end. */
  async run(args: string[], options: RunOptions = {}): Promise<Finished> {
    const child = this.tunnel(args, options.input !== undefined)
    if (options.input !== undefined) child.stdin?.end(options.input)
    return finish(child, `tunnel ${args[0]}`, options.onStdout)
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#children].map((child) => endChild(child)))
    for (let close = this.#closers.pop(); close !== undefined; close = this.#closers.pop()) await close()
    this.#wipe()
  }

  #wipe(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** Waits until a child is over and its output complete; its failure to end in time is an error. */
export function finish(
  child: ChildProcess,
  name: string,
  onStdout?: (chunk: Buffer) => void,
  limitMs = STEP_MS,
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout?.on('data', onStdout ?? ((chunk: Buffer) => out.push(chunk)))
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(
        new Error(`${name} did not end within ${limitMs / 1_000} s: ${Buffer.concat(err).toString().trim()}`),
      )
    }, limitMs)
    // It could not be started.
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      const status = code ?? (signal === null ? 1 : 128)
      resolve({ status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() })
    })
  })
}

/** Waits for a line on either output; what was written until then comes with the error when it ends first. */
export function lineOf(child: ChildProcess, pattern: RegExp, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const done = (act: () => void): void => {
      clearTimeout(timer)
      child.stdout?.off('data', onData).resume()
      child.stderr?.off('data', onData).resume()
      child.off('exit', onExit).off('error', onError)
      act()
    }
    const onData = (chunk: Buffer): void => {
      text += chunk.toString()
      const line = text.split('\n').find((candidate) => pattern.test(candidate))
      if (line !== undefined) done(() => resolve(line))
    }
    const onExit = (): void => done(() => reject(new Error(`${name} ended: ${text.trim()}`)))
    const onError = (error: Error): void => done(() => reject(error))
    const timer = setTimeout(
      () => done(() => reject(new Error(`${name} is not ready: ${text.trim()}`))),
      STEP_MS,
    )
    child.stdout?.on('data', onData)
    child.stderr?.on('data', onData)
    child.once('exit', onExit).once('error', onError)
  })
}

/** @param graceMs how long it may take before it is killed */
export async function endChild(
  child: ChildProcess,
  signal: NodeJS.Signals = 'SIGTERM',
  graceMs = GRACE_MS,
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
  await gone
  clearTimeout(timer)
}
