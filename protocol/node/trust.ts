import { type Stats, statSync } from 'node:fs'

/**
 * Why a file or folder must not be believed, in words that follow its name; undefined where all is well or nothing is
 * there. Whoever can write to it decides who is let in: ssh refuses such keys too. A link is judged by what it leads to,
 * as container platforms mount secrets so.
 */
export function mistrust(path: string): string | undefined {
  const me = process.getuid?.()
  const found = statSync(path, { throwIfNoEntry: false })
  // Where there are no such ids, modes mean nothing either.
  if (me === undefined || found === undefined) return undefined
  return found.isFile() || found.isDirectory() ? mistrustOf(found, me) : undefined
}

export function mistrustOf({ uid, mode }: Pick<Stats, 'uid' | 'mode'>, me: number): string | undefined {
  if (uid !== me && uid !== 0) return 'belongs to another user'
  return (mode & 0o002) === 0 ? undefined : 'can be written to by everybody (chmod o-w it)'
}

/** As ssh has it for keys: a file of one's own that others may read. One that a platform mounts is root's. */
export function exposure(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined || process.getuid === undefined || found.uid !== process.getuid()) return undefined
  return (found.mode & 0o077) === 0 ? undefined : 'can be read by others (chmod 600 it)'
}
