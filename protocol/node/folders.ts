import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a folder, and those above it that are missing. Node's own recursive `mkdir` says ENOENT of a disk that is
 * read-only, and never returns where the system says so of a folder that takes none (/proc, an automounter's).
 * @throws what the system says of the first folder that cannot be made
 */
export function makeFolder(path: string, mode = 0o700): void {
  const failed = make(path, mode)
  if (failed === undefined) return
  const above = dirname(path)
  if (failed.code !== 'ENOENT') throw failed
  // What was missing may have been made by another process since.
  if (!existsSync(above)) makeFolder(above, mode)
  const again = make(path, mode)
  if (again !== undefined) throw again
}

/** What the system says, where the folder is not there afterwards. */
function make(path: string, mode: number): NodeJS.ErrnoException | undefined {
  try {
    mkdirSync(path, mode)
  } catch (error) {
    // A read-only disk says so even of what is there.
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? undefined : (error as Error)
  }
  return undefined
}
