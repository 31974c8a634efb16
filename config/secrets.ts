import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder } from '../protocol/node/folders.ts'
import { MIN_SECRET_BYTES } from '../protocol/node/secrets.ts'
import type { Problem } from './errors.ts'
import { isTree } from './nodes.ts'
import { mistrustOfState } from './trust.ts'

export interface Secrets {
  jwtSecret: string
  masterSecret: string
}

export function secretsFile(stateDir: string): string {
  return join(stateDir, 'secrets.json')
}

/**
 * The secrets this machine made for itself; undefined where it has made none. Throws where the file is there and
 * cannot be read, does not hold two good secrets, or may be somebody else's work: a new one would end every token and key made with the old.
 */
export function readSecrets(stateDir: string): Secrets | undefined {
  const file = secretsFile(stateDir)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const reason =
    mistrustOfState(stateDir) ??
    (isExposed(file) ? `${file} can be read by others (chmod 600 it)` : undefined)
  if (reason !== undefined) throw new Error(reason)
  const secrets = parsed(text)
  if (secrets === undefined) {
    throw new Error(`${file} does not hold two secrets of ${MIN_SECRET_BYTES} bytes or more`)
  }
  return secrets
}

/** As `readSecrets`; makes them where there are none. Of several processes at once, one makes and all have the same. */
export function readOrMakeSecrets(stateDir: string): Secrets {
  const there = readSecrets(stateDir)
  if (there !== undefined) return there
  makeFolder(stateDir)
  const secret = () => randomBytes(48).toString('base64url')
  const mine: Secrets = { jwtSecret: secret(), masterSecret: secret() }
  // Written whole under a name of its own, then linked: nobody ever reads half a file, and the first one stays.
  const draft = `${secretsFile(stateDir)}.${process.pid}.${randomBytes(6).toString('hex')}`
  writeFileSync(draft, `${JSON.stringify(mine, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
  try {
    linkSync(draft, secretsFile(stateDir))
    return mine
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const winners = readSecrets(stateDir)
    if (winners === undefined) throw error
    return winners
  } finally {
    rmSync(draft, { force: true })
  }
}

/** Whether others than its owner may read `file`; false where there is none, or where modes mean nothing. */
function isExposed(file: string): boolean {
  if (process.platform === 'win32') return false
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0
  return (mode & 0o077) !== 0
}

export function shortSecret(path: string, value: string, source: string): Problem | undefined {
  const byteLength = Buffer.byteLength(value)
  if (byteLength >= MIN_SECRET_BYTES) return undefined
  const reason = `must be at least ${MIN_SECRET_BYTES} bytes long, and is ${byteLength}`
  return { kind: 'value', path, value: '[masked]', source, reason }
}

function parsed(text: string): Secrets | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isTree(value)) return undefined
  const { jwtSecret, masterSecret } = value
  const isGood = (secret: unknown) =>
    typeof secret === 'string' && Buffer.byteLength(secret) >= MIN_SECRET_BYTES
  return isGood(jwtSecret) && isGood(masterSecret) ? (value as unknown as Secrets) : undefined
}
