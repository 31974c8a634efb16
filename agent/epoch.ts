import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** Of this process, which may start several. */
let lastHere = 0

/**
 * The number of this start, higher than that of every earlier one: of two programs that put one machine on line, as a clone
 * of it does, the one that was started later has the name. A clock that is set back does not matter where `file` is
 * kept, nor a file that is lost where the clock is right. What cannot be written is left.
 */
export function nextEpoch(file: string | undefined, nowMs = Date.now()): number {
  const epoch = Math.max(file === undefined ? 0 : lastOf(file) + 1, nowMs, lastHere + 1)
  lastHere = epoch
  if (file === undefined) return epoch
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    // Whole or not at all.
    const draft = `${file}.${process.pid}`
    writeFileSync(draft, `${epoch}\n`, { mode: 0o600 })
    renameSync(draft, file)
  } catch {
    // A read-only file system: the clock has to do.
  }
  return epoch
}

/** No clock is that far ahead: the number would be refused (docs/PROTOCOL.md), and every later one with it. */
const MAX_AHEAD_MS = 3_600_000

function lastOf(file: string): number {
  try {
    const last = Number(readFileSync(file, 'utf8'))
    return Number.isSafeInteger(last) && last > 0 && last < Date.now() + MAX_AHEAD_MS ? last : 0
  } catch {
    return 0
  }
}
