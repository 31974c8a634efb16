import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { shellWord } from '../../client/shell-words.ts'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { GrowingChecksum } from './growing-checksum.ts'

/**
 * Programs that read stdin and print its SHA-256 first, one of which nearly every machine has. OpenSSL comes first: it uses
 * the processor's own instructions, and is several times as fast.
 */
const PROGRAMS = ['openssl dgst -sha256 -r', 'sha256sum', 'shasum -a 256', 'sha256 -q'] as const
/** Of one command, in files and in characters. */
const MAX_FILES = 64
const MAX_LINE = 16_384
/** Tries of one command whose connection was lost. */
const MAX_TRIES = 4
const RETRY_MS = 500
/** Files of at least this size are worth a command of their own while they are written, in bytes. */
const GROWING_BYTES = 33_554_432

/** Runs a line of the machine's shell, without input unless there is one, and answers with what it wrote. */
export type RunLine = (line: string, input?: Readable, signal?: AbortSignal) => Promise<string>

interface Asked {
  path: string
  answer: (sum: string | undefined) => void
}

/**
 * SHA-256 of files on a machine, by a program of its own: one command for many files, and one command at a time. A sum
 * that cannot be had is undefined, and `missing` says why.
 */
export class Checksums {
  readonly #run: RunLine
  #queue: Asked[] = []
  #working = false
  #programs: readonly string[] = PROGRAMS
  #isKnown = false
  #missing: string | undefined
  /** Files whose sums are made while they are written: each keeps a channel of the machine's connection. */
  #growing = 0

  constructor(run: RunLine) {
    this.#run = run
  }

  /** Why there are none. */
  get missing(): string | undefined {
    return this.#missing
  }

  ask(path: string): Promise<string | undefined> {
    return new Promise((answer) => {
      this.#queue.push({ path, answer })
      if (this.#working) return
      this.#working = true
      // Whoever asks in the same turn is answered by the same command.
      setImmediate(() => void this.#work())
    })
  }

  /** The sum of a file that `size` bytes will be written to; undefined where it had better be asked for at the end. */
  whileItGrows(path: string, size: number): GrowingChecksum | undefined {
    if (size < GROWING_BYTES || this.#growing > 0 || this.#missing !== undefined) return undefined
    this.#growing++
    return new GrowingChecksum(path, PROGRAMS, (line, input, signal) =>
      this.#run(line, input, signal).finally(() => {
        this.#growing--
      }),
    )
  }

  async #work(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#next()
      const sums = await this.#sums(batch.map(({ path }) => path))
      for (const [index, { answer }] of batch.entries()) answer(sums[index])
    }
    this.#working = false
  }

  #next(): Asked[] {
    let count = 0
    for (let chars = 0; count < Math.min(this.#queue.length, MAX_FILES); count++) {
      chars += (this.#queue[count]?.path.length ?? 0) + 40
      if (count > 0 && chars > MAX_LINE) break
    }
    return this.#queue.splice(0, count)
  }

  async #sums(paths: string[]): Promise<(string | undefined)[]> {
    while (this.#missing === undefined) {
      const [program = ''] = this.#programs
      // One line for each, whatever happens; POSIX shells, fish and csh read this in the same way.
      const line = paths.map((path) => `${program} <${shellWord(path)} || echo -`).join('; ')
      const output = await this.#output(line)
      if (output === undefined) break
      const lines = output.trim().split('\n')
      const sums = lines.map((text) => /^[0-9a-f]{64}\b/i.exec(text)?.[0].toLowerCase())
      if (sums.length === paths.length && sums.some((sum) => sum !== undefined)) {
        this.#isKnown = true
        return sums
      }
      // These files cannot be read, and the program is there.
      if (this.#isKnown) break
      this.#programs = this.#programs.slice(1)
      if (this.#programs.length === 0) this.#missing = 'the machine has no program for it'
    }
    return paths.map(() => undefined)
  }

  async #output(line: string): Promise<string | undefined> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#run(line)
      } catch (thrown) {
        const error = asTunnelError(thrown, 'client')
        const mayPass = error.category === 'network' || error.category === 'server'
        if (!mayPass || error.code === 'ABORTED' || tries === MAX_TRIES) {
          this.#missing = error.message
          return undefined
        }
        await delay(RETRY_MS * tries)
      }
    }
  }
}
