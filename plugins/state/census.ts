import { readFileSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'

const NAME = 'db.records'

/**
 * How many records there are, in a file beside the database: LevelDB drops what it cannot read, and one that was
 * damaged or deleted looks like one that never had more.
 */
export class Census {
  readonly file: string
  #counted: number
  #expected: number
  #written: number

  /** @param counted what the database holds now */
  constructor(dir: string, counted: number) {
    this.file = join(dir, NAME)
    this.#counted = counted
    this.#written = readCount(this.file)
    this.#expected = Math.max(this.#written, counted)
  }

  /** Records that were confirmed once, were not deleted, and are not there. */
  get lost(): number {
    return this.#expected - this.#counted
  }

  added(): Promise<void> {
    this.#counted++
    this.#expected = Math.max(this.#expected, this.#counted)
    return this.save()
  }

  removed(count: number): Promise<void> {
    this.#counted -= count
    this.#expected -= count
    return this.save()
  }

  /** Replaces the file where it says something else. Throws what the file system says; the next call tries again. */
  async save(): Promise<void> {
    const count = this.#expected
    if (count === this.#written) return
    const draft = `${this.file}.draft`
    const handle = await open(draft, 'w', 0o600)
    try {
      await handle.writeFile(`${count}\n`)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(draft, this.file)
    this.#written = count
  }
}

/** 0 where nothing is known of an earlier count. */
function readCount(file: string): number {
  try {
    const text = readFileSync(file, 'utf8').trim()
    return /^\d{1,15}$/.test(text) ? Number(text) : 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
}
