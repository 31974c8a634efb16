import { createRequire } from 'node:module'
import { algorithmUnknown, algorithmWeak } from './errors.ts'
import type { SshOptions } from './options.ts'

const require = createRequire(import.meta.url)

/** ssh2 exports neither of these; it has no other place that says them before the first connection. */
const supported = require('ssh2/lib/protocol/constants.js') as {
  SUPPORTED_KEX: readonly string[]
  SUPPORTED_CIPHER: readonly string[]
}

/** What ssh2 speaks and nobody should any more. */
const WEAK = /sha1$|-cbc|arcfour|md5|blowfish|cast128|3des/

/** Throws CONFIG_INVALID for an algorithm that ssh2 does not know, or that is broken. */
export function checkAlgorithms(algorithms: SshOptions['algorithms']): void {
  const unknown = (setting: string, names: readonly string[], known: readonly string[]): string[] =>
    names.filter((name) => !known.includes(name)).map((name) => `ssh.algorithms.${setting}: "${name}"`)
  const wrong = [
    ...unknown('kex', algorithms.kex, supported.SUPPORTED_KEX),
    ...unknown('cipher', algorithms.cipher, supported.SUPPORTED_CIPHER),
  ]
  if (wrong.length > 0) throw algorithmUnknown(wrong)
  const weak = [...algorithms.kex, ...algorithms.cipher].filter((name) => WEAK.test(name))
  if (weak.length > 0) throw algorithmWeak(weak)
}

/** Without its native part ssh2 falls back to slow JavaScript, and says nothing. */
export function hasNativeCrypto(): boolean {
  try {
    require('ssh2/lib/protocol/crypto/build/Release/sshcrypto.node')
    return true
  } catch {
    return false
  }
}
