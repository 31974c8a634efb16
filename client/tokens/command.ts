import { type ChildProcess, spawn } from 'node:child_process'
import { TunnelError } from '../../protocol/codec/errors.ts'

/** How long it may take: a password manager may have to ask its owner, in ms. */
const PATIENCE_MS = 60_000
/** A token has at most 8 KB. */
const MAX_BYTES = 16_384
/** What it leaves running may keep its output open; that is not waited for, in ms. */
const LEFT_OPEN_MS = 500
const SUGGESTION = 'run it by hand to see what it does'

/** A token provider: what a program and its arguments print, each time that a token is needed; see `tokenOfCommand`. */
export function tokenCommand(words: readonly string[]): () => Promise<string> {
  return () => tokenOfCommand(words)
}

/**
 * The token that a program prints. It is run as it is given, by no shell, without our stdin, which may be ssh's.
 * @param over ends it
 * @throws {TunnelError} TOKEN_MISSING, with what the program said on stderr, and never with what it printed
 */
export function tokenOfCommand(
  [program = '', ...words]: readonly string[],
  timeoutMs = PATIENCE_MS,
  over?: AbortSignal,
): Promise<string> {
  const fail = (why: string) =>
    new TunnelError('TOKEN_MISSING', `the token command ${program} ${why}`, {
      hop: 'client',
      suggestion: SUGGESTION,
    })
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      windowsHide: true,
      ...(over !== undefined && { signal: over, killSignal: 'SIGKILL' }),
    })
    const printed = new Gathered(child, 'stdout')
    const said = new Gathered(child, 'stderr')
    let leftOpen: NodeJS.Timeout | undefined
    const settle = (error?: Error): void => {
      clearTimeout(late)
      clearTimeout(leftOpen)
      child.kill('SIGKILL')
      child.stdout.destroy()
      child.stderr.destroy()
      if (error !== undefined) return reject(error)
      const token = printed.text.trim()
      if (token === '') reject(fail('printed nothing'))
      else resolve(token)
    }
    const late = setTimeout(() => settle(fail(`did not end within ${timeoutMs / 1_000} s`)), timeoutMs)
    child.once('error', (error: NodeJS.ErrnoException) => {
      settle(fail(error.code === 'ENOENT' ? 'was not found' : `cannot be run (${error.code})`))
    })
    const ended = (): void => {
      const { exitCode, signalCode } = child
      if (printed.isTooLong) return settle(fail(`printed more than ${MAX_BYTES} bytes`))
      if (exitCode === 0) return settle()
      const how = signalCode === null ? `ended with status ${exitCode}` : `was ended by ${signalCode}`
      const why = said.text.trim().slice(-500)
      settle(fail(why === '' ? how : `${how}: ${why}`))
    }
    child.once('close', ended)
    child.once('exit', () => {
      leftOpen = setTimeout(ended, LEFT_OPEN_MS)
    })
  })
}

/** What comes out of a program, up to a limit, at which it is told to stop. */
class Gathered {
  readonly #chunks: Buffer[] = []
  #length = 0

  constructor(child: ChildProcess, name: 'stdout' | 'stderr') {
    child[name]?.on('data', (chunk: Buffer) => {
      this.#length += chunk.length
      if (!this.isTooLong) this.#chunks.push(chunk)
      else if (name === 'stdout') child.kill('SIGKILL')
    })
  }

  get isTooLong(): boolean {
    return this.#length > MAX_BYTES
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString()
  }
}
