import { spawnSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Scope } from '../support/scope.ts'

const PIECE_BYTES = 1_048_576

/** A disk of 8 MiB, which can be filled to its last byte and emptied. */
export class SmallDisk {
  readonly dir: string
  readonly #filler: string

  private constructor(dir: string) {
    this.dir = dir
    this.#filler = join(dir, 'filler')
  }

  /** Undefined where none can be mounted: it takes root. */
  static mount(scope: Scope): SmallDisk | undefined {
    const dir = mkdtempSync(join(tmpdir(), 'tunnel-small-'))
    const isMounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dir]).status === 0
    scope.after(() => {
      if (isMounted) spawnSync('umount', ['-l', dir])
      rmSync(dir, { recursive: true, force: true })
    })
    return isMounted ? new SmallDisk(dir) : undefined
  }

  /** All that can be written from then on is what other files have left of their last pages (4 KiB). */
  fill(): void {
    let piece = Buffer.alloc(PIECE_BYTES)
    while (piece.length > 0) {
      try {
        appendFileSync(this.#filler, piece)
      } catch {
        piece = piece.subarray(0, piece.length >> 1)
      }
    }
  }

  empty(): void {
    rmSync(this.#filler, { force: true })
  }
}
