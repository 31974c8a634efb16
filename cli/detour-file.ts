import { createHash } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defaultStateDir } from '../config/folders.ts'
import { type DetourMemory, Detours } from '../dial/detours.ts'
import { addresses } from '../dial/network-watch.ts'
import { makeFolder } from '../protocol/node/folders.ts'

/** No list of ours comes near it. */
const MAX_CHARS = 65_536

/**
 * Where WebSocket did not pass, for the commands that follow. It saves them a moment each and nothing else: a file that
 * cannot be read or written is as good as none.
 */
export class DetourFile implements DetourMemory {
  readonly #path: string
  #detours: Detours | undefined

  constructor(path: string) {
    this.#path = path
  }

  get #known(): Detours {
    this.#detours ??= new Detours(networkOf, this.#read())
    return this.#detours
  }

  has(url: string): boolean {
    return this.#known.has(url)
  }

  add(url: string): void {
    this.#known.add(url)
    this.#write()
  }

  forget(url: string): void {
    this.#known.forget(url)
    this.#write()
  }

  #read(): [string, number][] {
    try {
      const text = readFileSync(this.#path, 'utf8')
      const tree = text.length > MAX_CHARS ? {} : (JSON.parse(text) as Record<string, unknown>)
      return Object.entries(tree).filter((entry): entry is [string, number] => typeof entry[1] === 'number')
    } catch {
      return []
    }
  }

  #write(): void {
    const written = `${this.#path}.${process.pid}`
    try {
      makeFolder(dirname(this.#path))
      writeFileSync(written, JSON.stringify(Object.fromEntries(this.#known.entries())), { mode: 0o600 })
      renameSync(written, this.#path)
    } catch {
      // Then it is found out again.
    }
  }
}

/** The present network by its addresses, which need not be readable. */
function networkOf(): string {
  return createHash('sha256').update(addresses()).digest('base64url').slice(0, 16)
}

/** This person's, in the state folder. */
export function detourFile(env: NodeJS.ProcessEnv = process.env): DetourMemory {
  try {
    return new DetourFile(join(env.TUNNEL_STATE_DIR || defaultStateDir(env), 'detours.json'))
  } catch {
    // There is no home folder.
    return new Detours(networkOf)
  }
}
