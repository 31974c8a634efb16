import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { makeFolder } from '../../protocol/node/folders.ts'
import { storeFailed } from './errors.ts'
import type { Take } from './store.ts'

/** How often the owner of a queue looks for what others have left, in ms. */
const LOOK_MS = 500
const SUFFIX = '.request'
/** A file that is being written. */
const UNFINISHED = '.part'

/** How many requests this process has left: several may be in the same millisecond. */
let left = 0

/** Requests that other programs leave for the one that has the queue: a file each, in a folder beside the store. */
export class Spool {
  readonly #folder: string
  #timer: ReturnType<typeof setInterval> | undefined
  #looking: Promise<void> | undefined
  /** The last look met something, and it was told. */
  #isTold = false
  #isClosed = false

  constructor(dir: string) {
    this.#folder = join(dir, 'spool')
  }

  /** Resolves when the request is on disk, and so the other program's. */
  async leave(value: Uint8Array): Promise<void> {
    makeFolder(this.#folder)
    // In the order in which they were left; a name is used once.
    const order = `${digits(Date.now(), 14)}-${digits(left++, 9)}`
    const name = join(this.#folder, `${order}-${randomUUID()}`)
    const file = await open(name + UNFINISHED, 'wx', 0o600)
    try {
      await file.writeFile(value)
      await file.sync()
    } catch (error) {
      await rm(name + UNFINISHED, { force: true })
      throw error
    } finally {
      await file.close()
    }
    await rename(name + UNFINISHED, name + SUFFIX)
    await syncFolder(this.#folder)
  }

  /**
   * Looks now, and again and again; what `take` rejects is asked for again.
   * @param failed told when something cannot be taken, and not again before a look that meets nothing
   */
  receive(take: Take, failed: (error: TunnelError) => void): void {
    const look = () => {
      this.#looking ??= this.#look(take, failed).finally(() => {
        this.#looking = undefined
      })
    }
    this.#timer = setInterval(look, LOOK_MS).unref()
    look()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#timer)
    await this.#looking
  }

  async #look(take: Take, failed: (error: TunnelError) => void): Promise<void> {
    let names: string[] = []
    let problem: unknown
    try {
      names = await this.#names()
    } catch (error) {
      problem = error
    }
    for (const name of names) {
      // There may be thousands, and each waits for the disk.
      if (this.#isClosed) break
      const path = join(this.#folder, name)
      try {
        const taken = await take(name.slice(0, -SUFFIX.length), await readFile(path))
        await rm(path, { force: true })
        await syncFolder(this.#folder)
        taken()
      } catch (error) {
        // A disk that is full now, or a file that is none: those behind it are taken all the same.
        problem ??= error
      }
    }
    const isNew = problem !== undefined && !this.#isTold
    this.#isTold = problem !== undefined
    if (isNew) failed(storeFailed(`what was left in ${this.#folder} cannot be taken`, problem))
  }

  /** Oldest first. */
  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#folder)).filter((each) => each.endsWith(SUFFIX)).sort()
    } catch (error) {
      // Nobody has left anything yet.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }
}

function digits(value: number, length: number): string {
  return String(value).padStart(length, '0')
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** @throws {TunnelError} STORE_FAILED */
export async function leaveInSpool(dir: string, record: Uint8Array): Promise<void> {
  try {
    await new Spool(dir).leave(record)
  } catch (error) {
    throw storeFailed(`a request cannot be left in ${dir}`, error)
  }
}
