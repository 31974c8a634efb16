import { lstatSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { mistrust } from '../protocol/node/trust.ts'

/** What the state folder holds that would be harmful if it led elsewhere. */
const NEVER_LINKS = ['secrets.json', 'audit.log', 'db', 'db.records']

/** Why the state folder, or what is in it, must not be believed, as a whole sentence; undefined where all is well. */
export function mistrustOfState(dir: string): string | undefined {
  try {
    return mistrustOfWhatIsThere(dir)
  } catch (error) {
    // A folder above it that may not be entered, or that is none.
    return `${dir} cannot be used (${(error as NodeJS.ErrnoException).code})`
  }
}

function mistrustOfWhatIsThere(dir: string): string | undefined {
  if (statSync(dir, { throwIfNoEntry: false })?.isDirectory() === false) return `${dir} is not a folder`
  for (const path of [dir, ...NEVER_LINKS.map((name) => join(dir, name))]) {
    const reason = mistrust(path)
    if (reason !== undefined) return `${path} ${reason}`
    const isLink = path !== dir && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
    if (isLink) return `${path} is a symbolic link`
  }
  return undefined
}
