import { TunnelError } from '../protocol/codec/errors.ts'

/** From the weakest to the strongest (Subresource Integrity, section 3.2). */
const ALGORITHMS = ['sha256', 'sha384', 'sha512'] as const
const SUBTLE_NAMES = { sha256: 'SHA-256', sha384: 'SHA-384', sha512: 'SHA-512' } as const

/** Checks a body against `integrity`: one of the strongest hashes in it must fit; without any that is known all do. */
export async function checkIntegrity(integrity: string, body: Uint8Array): Promise<void> {
  const wanted = integrity.split(/\s+/).flatMap((part) => {
    const found = /^(sha256|sha384|sha512)-([A-Za-z0-9+/_-]+={0,2})(?:\?.*)?$/.exec(part)
    const algorithm = ALGORITHMS.find((known) => known === found?.[1])
    return algorithm === undefined ? [] : [{ algorithm, hash: plain(found?.[2] ?? '') }]
  })
  const strongest = ALGORITHMS.findLast((known) => wanted.some(({ algorithm }) => algorithm === known))
  if (strongest === undefined) return
  const digest = new Uint8Array(
    await crypto.subtle.digest(SUBTLE_NAMES[strongest], body as Uint8Array<ArrayBuffer>),
  )
  const hash = plain(btoa(String.fromCharCode(...digest)))
  if (wanted.some((one) => one.algorithm === strongest && one.hash === hash)) return
  throw new TunnelError('ABORTED', `the body does not have the hash that integrity asks for (${strongest})`, {
    hop: 'client',
  })
}

/** Base64 with either alphabet, without padding. */
function plain(base64: string): string {
  return base64.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '')
}
