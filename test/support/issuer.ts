import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Scope } from './scope.ts'

/** A signing key of an issuer's, and the algorithm that it is used with. */
export interface SigningKey {
  kid: string
  alg: 'RS256' | 'PS256' | 'ES256' | 'EdDSA'
  privateKey: KeyObject
  publicKey: KeyObject
}

export function signingKey(alg: SigningKey['alg'], kid: string, bits = 2_048): SigningKey {
  if (alg === 'EdDSA') return { kid, alg, ...generateKeyPairSync('ed25519') }
  if (alg === 'ES256') return { kid, alg, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) }
  return { kid, alg, ...generateKeyPairSync('rsa', { modulusLength: bits }) }
}

const encoded = (value: object | string): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A token with a header and claims of any form, signed as `alg` says. */
export function signWith(
  key: Pick<SigningKey, 'alg' | 'privateKey'>,
  header: object | string,
  claims: object | string,
): string {
  const input = `${encoded(header)}.${encoded(claims)}`
  const bytes = Buffer.from(input)
  const options = {
    RS256: { key: key.privateKey },
    PS256: { key: key.privateKey, padding: 6, saltLength: 32 },
    ES256: { key: key.privateKey, dsaEncoding: 'ieee-p1363' as const },
    EdDSA: { key: key.privateKey },
  }[key.alg]
  const signature = sign(key.alg === 'EdDSA' ? null : 'sha256', bytes, options)
  return `${input}.${signature.toString('base64url')}`
}

/** A token as an issuer signs it. */
export function tokenBy(key: SigningKey, claims: object, header: object = {}): string {
  return signWith(key, { alg: key.alg, typ: 'JWT', kid: key.kid, ...header }, claims)
}

export function jwkOf({ kid, alg, publicKey }: SigningKey, more: object = {}): object {
  return { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig', ...more }
}

export interface KeyServer {
  url: string
  /** What it answers; a function answers by itself. */
  keys: object[] | ((request: IncomingMessage, response: ServerResponse) => void)
  /** Requests that have come. */
  readonly asked: string[]
}

/** Serves a key set, as an issuer does. */
export async function startKeyServer(scope: Scope, keys: KeyServer['keys']): Promise<KeyServer> {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    if (typeof served.keys === 'function') return served.keys(request, response)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ keys: served.keys }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const served: KeyServer = { url: `http://127.0.0.1:${port}/jwks`, keys, asked }
  return served
}
