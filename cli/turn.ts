import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** A turn takes a few ms: older than this, what marks it was left behind, in ms. */
const STALE_MS = 60_000
/** Why a folder does not take another's place. */
const TAKEN: ReadonlySet<string> = new Set(['ENOTEMPTY', 'EEXIST', 'ENOTDIR'])
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Does `work` while no other process does; undefined when it is another's turn. What is begun is not interrupted by a
 * signal.
 *
 * `lock` is a folder that holds one file, whose name says whose turn it is. A folder takes the place of an empty one and
 * never of another, and what a killed process left is removed by its own name: so nobody can end a turn that has begun
 * meanwhile, as would happen if all of them used the same name.
 */
export function inTurn<T>(lock: string, work: () => T): T | undefined {
  const wait = (): void => {}
  for (const signal of SIGNALS) process.on(signal, wait)
  try {
    const mark = ownMark()
    if (!begin(lock, mark)) {
      removeStale(lock)
      return undefined
    }
    try {
      return work()
    } finally {
      end(lock, mark)
    }
  } finally {
    for (const signal of SIGNALS) process.off(signal, wait)
  }
}

/** What tells others which process of which computer does something. */
export function ownMark(): string {
  return `${process.pid}.${randomBytes(6).toString('hex')}.${hostname()}`
}

function begin(lock: string, mark: string): boolean {
  const draft = `${lock}.${mark}`
  mkdirSync(draft, { mode: 0o700 })
  try {
    writeFileSync(join(draft, mark), '', { mode: 0o600 })
    renameSync(draft, lock)
    return true
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    const code = codeOf(error)
    // On Windows no folder takes the place of another, and that is told as a matter of permission.
    const isTaken = code === 'EPERM' ? process.platform === 'win32' : TAKEN.has(code)
    if (!isTaken) throw error
    return false
  }
}

function end(lock: string, mark: string): void {
  rmSync(join(lock, mark), { force: true })
  try {
    rmdirSync(lock)
  } catch {
    // The next one is there already, or has been and gone.
  }
}

function removeStale(lock: string): void {
  let marks: string[]
  try {
    marks = readdirSync(lock)
  } catch (error) {
    // An earlier version of this program left a file there.
    if (codeOf(error) === 'ENOTDIR' && isOld(lock)) rmSync(lock, { force: true })
    return
  }
  for (const mark of marks) if (isDead(mark) || isOld(join(lock, mark))) end(lock, mark)
}

/** Of a process of this computer that is not there any more. */
export function isDead(mark: string): boolean {
  const [, pid = '', host] = /^(\d+)\.[0-9a-f]+\.(.*)$/.exec(mark) ?? []
  if (host !== hostname()) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return codeOf(error) === 'ESRCH'
  }
}

function isOld(path: string): boolean {
  const since = statSync(path, { throwIfNoEntry: false })?.mtimeMs
  return since !== undefined && Date.now() - since > STALE_MS
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? ''
}
