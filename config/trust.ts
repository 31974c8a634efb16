import { lstatSync, type Stats, statSync } from 'node:fs'
import { join } from 'node:path'

/** What the state folder holds that would be harmful if it led elsewhere. */
const NEVER_LINKS = ['secrets.json', 'audit.log', 'db', 'db.records']

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

/** The same for the state folder and what is in it, as a whole sentence. */
export function mistrustOfState(dir: string): string | undefined {
  for (const path of [dir, ...NEVER_LINKS.map((name) => join(dir, name))]) {
    const reason = mistrust(path)
    if (reason !== undefined) return `${path} ${reason}`
    const isLink = path !== dir && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
    if (isLink) return `${path} is a symbolic link`
  }
  return undefined
}
