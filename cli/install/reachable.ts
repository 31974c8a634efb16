import { realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** What a service with ProtectHome and PrivateTmp does not see. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)(\/|$)/

/** Why the account of a service cannot run this file, in words that follow its name; undefined where it can. */
export function hiddenFromServices(file: string): string | undefined {
  const path = realpathSync(file)
  if (HIDDEN.test(path)) return 'is in a folder that a service does not see'
  for (let at = path; ; at = dirname(at)) {
    const { mode } = statSync(at)
    const wanted = at === path ? 0o004 : 0o001
    if ((mode & wanted) === 0) return `cannot be read by other accounts (${at})`
    if (at === dirname(at)) return undefined
  }
}
