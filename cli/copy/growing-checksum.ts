import { PassThrough, type Readable } from 'node:stream'
import { shellWord } from '../../client/shell-words.ts'

const BLOCK_BYTES = 65_536
/** The machine is told of as much more at once, in bytes. */
const STEP_BYTES = 8_388_608

/**
 * The SHA-256 of a file that is being written on a machine, made there while it grows: what is left to do at its end is
 * little, where reading a large file anew would take as long as a good part of the copy.
 */
export class GrowingChecksum {
  readonly #steps = new PassThrough()
  readonly #abort = new AbortController()
  readonly #output: Promise<string | undefined>
  #toldBlocks = 0

  /**
   * @param programs of which the first one that is there reads stdin and prints its SHA-256
   * @param run runs a line of the machine's shell with this input, and answers with what it wrote
   */
  constructor(
    path: string,
    programs: readonly string[],
    run: (line: string, input: Readable, signal: AbortSignal) => Promise<string>,
  ) {
    this.#output = run(lineFor(path, programs), this.#steps, this.#abort.signal).catch(() => undefined)
  }

  /** All before `offset` is written and stays. */
  grown(offset: number): void {
    const blocks = Math.floor(offset / BLOCK_BYTES) - this.#toldBlocks
    if (blocks * BLOCK_BYTES < STEP_BYTES) return
    this.#toldBlocks += blocks
    this.#steps.write(`${blocks}\n`)
  }

  /** All of it is written. Undefined where the machine has made no sum. */
  async whole(): Promise<string | undefined> {
    this.#steps.end()
    return /^[0-9a-f]{64}\b/i.exec((await this.#output) ?? '')?.[0].toLowerCase()
  }

  /** Nobody asks for it any more. */
  stop(): void {
    this.#abort.abort()
    this.#steps.destroy()
  }
}

/** For each number that it reads as many blocks of the file, and at the end of its input the rest. */
function lineFor(path: string, programs: readonly string[]): string {
  const choose = `for s in ${programs.map((program) => `"${program}"`).join(' ')}`
  const script = [
    'exec 3<"$0" || exit',
    `${choose}; do command -v "\${s%% *}" >/dev/null && break; done`,
    `{ while read n; do dd bs=${BLOCK_BYTES} count="$n" <&3 2>/dev/null; done; cat <&3; } | $s`,
  ].join('; ')
  return `sh -c ${shellWord(script)} ${shellWord(path)}`
}
