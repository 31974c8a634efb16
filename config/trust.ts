import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { mistrust } from '../protocol/node/trust.ts'

/** What the state folder holds that would be harmful if it led elsewhere. */
const NEVER_LINKS = ['secrets.json', 'audit.log', 'db', 'db.records']

/** Why the state folder, or what is in it, must not be believed, as a whole sentence; undefined where all is well. */
export function mistrustOfState(dir: string): string | undefined {
  for (const path of [dir, ...NEVER_LINKS.map((name) => join(dir, name))]) {
    const reason = mistrust(path)
    if (reason !== undefined) return `${path} ${reason}`
    const isLink = path !== dir && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
    if (isLink) return `${path} is a symbolic link`
  }
  return undefined
}
