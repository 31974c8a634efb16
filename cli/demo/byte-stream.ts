import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { shellWord } from '../../client/shell-words.ts'
import type { ClusterScene } from './cluster-scene.ts'
import { type Finished, finish } from './stage.ts'

const BLOCK_BYTES = 4_096
/** How long the remote side waits between two blocks, in ms. */
export const BLOCK_EVERY_MS = 50
/** How long a stream may take in all, in ms. */
const LIMIT_MS = 180_000

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** Random bytes that come over `ssh` until they are told to stop, and of which the remote side keeps a copy. */
export class ByteStream {
  /** Resolves when ssh has ended. */
  readonly finished: Promise<Finished>
  readonly #copy: string
  readonly #stop: string
  readonly #hash = createHash('sha256')
  readonly #waiting = new Set<() => void>()
  #bytes = 0
  #lastMs: number | undefined
  #longestGapMs = 0
  #gapMs = 0
  #ended = false

  /** @param onBytes called with each arrival */
  constructor({ stage, startSsh }: ClusterScene, onBytes: (stream: ByteStream) => void) {
    this.#copy = stage.path('copy.bin')
    this.#stop = stage.path('stop')
    const [folder, copy, stop] = [stage.path('.'), this.#copy, this.#stop].map(shellWord)
    const block = `head -c ${BLOCK_BYTES} /dev/urandom; sleep ${BLOCK_EVERY_MS / 1_000}`
    // A demo that is gone is not waited for.
    const script = `while [ -d ${folder} ] && [ ! -e ${stop} ]; do ${block}; done | tee ${copy}`
    this.finished = finish(
      startSsh(script),
      'tunnel ssh',
      (chunk) => {
        this.#take(chunk)
        onBytes(this)
      },
      LIMIT_MS,
    )
    const over = (): void => {
      this.#ended = true
      this.#wake()
    }
    this.finished.then(over, over)
  }

  get bytes(): number {
    return this.#bytes
  }
  /** Between two arrivals, in ms; what the remote side waits between two blocks is part of it. */
  get longestGapMs(): number {
    return this.#longestGapMs
  }
  /** ssh has ended. */
  get ended(): boolean {
    return this.#ended
  }

  /** The longest since it was asked for last, in ms. */
  takeGap(): number {
    const gapMs = this.#gapMs
    this.#gapMs = 0
    return gapMs
  }

  #take(chunk: Buffer): void {
    const nowMs = performance.now()
    const gapMs = nowMs - (this.#lastMs ?? nowMs)
    this.#lastMs = nowMs
    this.#gapMs = Math.max(this.#gapMs, gapMs)
    this.#longestGapMs = Math.max(this.#longestGapMs, gapMs)
    this.#bytes += chunk.length
    this.#hash.update(chunk)
    this.#wake()
  }

  /** Resolves when this many bytes more have come, or none will. */
  async more(bytes = 1): Promise<void> {
    const wanted = this.#bytes + bytes
    while (!this.#ended && this.#bytes < wanted)
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
  }

  /** Tells the remote side that it is enough; `finished` says when all has come. */
  stop(): void {
    writeFileSync(this.#stop, '')
  }

  /** Of what was sent and of what has come, in hex; once, after the end. */
  checksums(): { sent: string; received: string } {
    return { sent: sha256(readFileSync(this.#copy)), received: this.#hash.digest('hex') }
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
