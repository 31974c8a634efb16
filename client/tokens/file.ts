import { readFileSync } from 'node:fs'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { exposure, mistrust } from '../../protocol/node/trust.ts'

/** A token provider: what stands in a file, read each time that a token is needed. Whoever renews the token writes it there. */
export function tokenFile(path: string): () => Promise<string> {
  return async () => readOwnSecret(path)
}

/** What a file of the person's alone holds. @throws {TunnelError} TOKEN_MISSING, also where others may read it */
export function readOwnSecret(path: string): string {
  return readTokenFile(path, exposure(path))
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EISDIR: 'is a folder',
  EACCES: 'may not be read by you',
}

/**
 * @param unfit why it is not to be used, as far as the caller has looked
 * @throws {TunnelError} TOKEN_MISSING
 */
export function readTokenFile(path: string, unfit?: string): string {
  let token: string
  let reason: string | undefined
  try {
    reason = mistrust(path) ?? unfit
    token = readFileSync(path, 'utf8').trim()
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException
    const why = UNREADABLE[code] ?? `cannot be read (${code})`
    throw new TunnelError('TOKEN_MISSING', `the token file ${path} ${why}`, { cause, hop: 'client' })
  }
  // Whoever can write to the file decides as whom, and so to which machines, its reader connects.
  if (reason === undefined && token === '') reason = 'is empty'
  if (reason !== undefined)
    throw new TunnelError('TOKEN_MISSING', `the token file ${path} ${reason}`, { hop: 'client' })
  return token
}
