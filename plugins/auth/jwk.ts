import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import type { Algorithm } from './verifier.ts'

/** A key of an issuer's, and all that it may be used with. */
export interface IssuerKey {
  kid: string | undefined
  algorithms: readonly Algorithm[]
  /** SPKI, PEM. */
  pem: string
}

/** Keys of one set that are read: issuers have two or three. */
const MAX_KEYS = 64
/** RFC 7518, section 3.3. */
const MIN_RSA_BITS = 2_048

/** What a key may be used with when it does not say so itself: by its kind, and never a secret's algorithm. */
function algorithmsOf({ kty, crv }: JsonWebKey): readonly Algorithm[] {
  if (kty === 'RSA') return ['RS256', 'PS256']
  if (kty === 'EC' && crv === 'P-256') return ['ES256']
  return kty === 'OKP' && crv === 'Ed25519' ? ['EdDSA'] : []
}

/** The keys of a JSON Web Key Set (RFC 7517) that verify signatures; others, and what is broken, are left out. */
export function readKeySet(json: unknown): IssuerKey[] {
  const keys = (json as { keys?: unknown } | null)?.keys
  if (!Array.isArray(keys)) throw new Error('there are no keys in it')
  return keys.slice(0, MAX_KEYS).flatMap((jwk: unknown) => readKey(jwk) ?? [])
}

function readKey(value: unknown): IssuerKey | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const jwk = value as JsonWebKey
  const { kid, alg, use, key_ops: operations } = jwk
  if (kid !== undefined && typeof kid !== 'string') return undefined
  if (use !== undefined && use !== 'sig') return undefined
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return undefined
  const algorithms = algorithmsOf(jwk).filter((name) => alg === undefined || name === alg)
  if (algorithms.length === 0) return undefined
  let key: KeyObject
  try {
    key = createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
  if (jwk.kty === 'RSA' && (key.asymmetricKeyDetails?.modulusLength ?? 0) < MIN_RSA_BITS) return undefined
  return { kid, algorithms, pem: key.export({ type: 'spki', format: 'pem' }).toString() }
}
