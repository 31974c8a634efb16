import type { DiagnosticReport } from '../client/diagnostics/report.ts'
import { loadSettings } from '../config/index.ts'
import { MASK } from '../config/nodes.ts'
import { packageVersion } from '../dial/software.ts'
import { asTunnelError } from '../protocol/codec/errors.ts'
import { askAll } from './api.ts'
import type { Access } from './credentials.ts'
import { clientSettings } from './reach.ts'
import { updateFile } from './replace-file.ts'
import { warn } from './warning.ts'

/** A signed token, and the user and password of a URL. */
const LOOKS_SECRET = [
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, MASK],
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s"/@]+@/gi, `$1${MASK}@`],
] as const
/** Shorter values are in any text. */
const MIN_SECRET_CHARS = 4

/**
 * Writes what helps somebody else to find out what is wrong, for this person alone to read and to pass on: versions, settings
 * and where each came from, the report, what the proxy tells the caller of their streams, and which variables are set.
 * No secret is in it, and no variable's value.
 * @throws {TunnelError} CONFIG_INVALID where it cannot be written
 */
export async function writeSupportBundle(
  path: string,
  access: Access,
  report: DiagnosticReport,
): Promise<void> {
  const bundle = {
    made: new Date().toISOString(),
    version: packageVersion(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    addresses: access.urls,
    report,
    clientSettings: await orReason(() => clientSettings(access)),
    serverSettings: await orReason(() => {
      const { profile, warnings, explain } = loadSettings({ secrets: 'leave' })
      return { profile, warnings, settings: explain() }
    }),
    proxy: await orReason(() => askProxy(access)),
    variables: Object.keys(process.env).sort(),
  }
  const text = redacted(JSON.stringify(bundle, null, 2), await secretsAtHand(access))
  await updateFile(path, () => `${text}\n`)
}

async function askProxy(access: Access): Promise<unknown> {
  const { answer, gap } = await askAll(access, 'diagnostics')
  if (gap !== undefined) warn('REPLICA_MISSING', gap)
  return answer
}

/** What can be known, or why it cannot. */
async function orReason<T>(find: () => T | Promise<T>): Promise<T | { failed: string }> {
  try {
    return await find()
  } catch (thrown) {
    const { code, message } = asTunnelError(thrown, 'client')
    return { failed: `${message} (${code})` }
  }
}

/** The token in use, and the values of all variables that are named as secrets are. */
async function secretsAtHand({ token }: Access): Promise<string[]> {
  const own = await orReason(() => (typeof token === 'function' ? token({}) : token))
  const named = Object.entries(process.env).filter(([name]) =>
    /secret|token|passw|key|credential|auth/i.test(name),
  )
  return [typeof own === 'string' ? own : '', ...named.map(([, value = '']) => value)]
}

function redacted(text: string, secrets: readonly string[]): string {
  let clean = text
  for (const secret of secrets) {
    // As it stands in JSON.
    const written = JSON.stringify(secret).slice(1, -1)
    if (written.length >= MIN_SECRET_CHARS) clean = clean.replaceAll(written, MASK)
  }
  for (const [pattern, mask] of LOOKS_SECRET) clean = clean.replace(pattern, mask)
  return clean
}
