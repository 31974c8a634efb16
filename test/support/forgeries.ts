import { createHmac } from 'node:crypto'
import { jwkOf, type SigningKey, signingKey, signWith, tokenBy } from './issuer.ts'

export interface Forger {
  /** What a right token says. */
  claims: Record<string, unknown>
  /** The server's own secret, which the forger does not have but for the few that are rightly signed and wrong otherwise. */
  secret: string
  /** The issuer's keys, by algorithm. */
  keys: Record<SigningKey['alg'], SigningKey>
  keysUrl: string
}

const encoded = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

function hmac(secret: string | Buffer, header: unknown, claims: unknown, hash = 'sha256'): string {
  const input = `${encoded(header)}.${encoded(claims)}`
  return `${input}.${createHmac(hash, secret).update(input).digest('base64url')}`
}

/** Tokens that must not be taken, by what is wrong with each. */
export function forgeries({ claims, secret, keys, keysUrl }: Forger): Record<string, string> {
  const now = Math.floor(Date.now() / 1_000)
  const hs = { alg: 'HS256', typ: 'JWT' }
  const own = (more: object, header: object = hs): string => hmac(secret, header, { ...claims, ...more })
  const rsa = keys.RS256
  const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' })
  const der = rsa.publicKey.export({ type: 'spki', format: 'der' })
  const pkcs1 = rsa.publicKey.export({ type: 'pkcs1', format: 'pem' })
  const mine = signingKey('RS256', rsa.kid)
  const minesEc = signingKey('ES256', keys.ES256.kid)
  const byRsa = (header: object, more: object = {}): string => tokenBy(rsa, { ...claims, ...more }, header)
  const byMe = (header: object): string => tokenBy(mine, claims, header)
  const [header = '', payload = '', signature = ''] = byRsa({}).split('.')
  const [ecHeader, ecPayload] = tokenBy(keys.ES256, claims).split('.')
  const unsigned = (alg: unknown): string => `${encoded({ alg, typ: 'JWT' })}.${encoded(claims)}.`
  const other = encoded({ ...claims, sub: 'root', roles: ['admin'] })
  return {
    // No signature, or none that means anything.
    'alg none': unsigned('none'),
    'alg None': unsigned('None'),
    'alg NONE': unsigned('NONE'),
    'alg nOnE with a signature': `${unsigned('nOnE')}AAAA`,
    'alg empty': unsigned(''),
    'alg null': unsigned(null),
    'alg a list': unsigned(['HS256', 'none']),
    'alg missing': `${encoded({ typ: 'JWT' })}.${encoded(claims)}.AAAA`,
    'HS256 without a signature': unsigned('HS256'),
    'RS256 without a signature': `${header}.${payload}.`,
    'HS256 with the empty secret': `${encoded(hs)}.${encoded(claims)}.${createHmac('sha256', '')
      .update(`${encoded(hs)}.${encoded(claims)}`)
      .digest('base64url')}`,
    'an ECDSA signature of zeros': `${ecHeader}.${ecPayload}.${Buffer.alloc(64).toString('base64url')}`,
    // Another key, or the right one in another way.
    'HS256 with another secret': hmac(`${secret}x`, hs, claims),
    'HS256 with a prefix of the secret': hmac(secret.slice(0, 16), hs, claims),
    'HS384 with the secret': hmac(secret, { alg: 'HS384', typ: 'JWT' }, claims, 'sha384'),
    'HS512 with the secret': hmac(secret, { alg: 'HS512', typ: 'JWT' }, claims, 'sha512'),
    'HS256 with the public key in PEM': hmac(String(pem), hs, claims),
    'HS256 with the public key in PEM, trimmed': hmac(String(pem).trim(), hs, claims),
    'HS256 with the public key in DER': hmac(der, hs, claims),
    'HS256 with the public key in PKCS 1': hmac(String(pkcs1), hs, claims),
    'HS256 with the public key and its kid': hmac(String(pem), { ...hs, kid: rsa.kid }, claims),
    'HS256 with the JWK as text': hmac(JSON.stringify(jwkOf(rsa)), { ...hs, kid: rsa.kid }, claims),
    'HS256 with the kid as secret': hmac(rsa.kid, { ...hs, kid: rsa.kid }, claims),
    'RS256 with a key of the forger': byMe({}),
    'ES256 with a key of the forger': tokenBy(minesEc, claims),
    'EdDSA with a key of the forger': tokenBy(signingKey('EdDSA', keys.EdDSA.kid), claims),
    'PS256 with a key of the forger': tokenBy(signingKey('PS256', keys.PS256.kid), claims),
    'an RS256 key used for PS256': signWith({ ...rsa, alg: 'PS256' }, { alg: 'PS256', kid: rsa.kid }, claims),
    'a PS256 key used for RS256': signWith(
      { ...keys.PS256, alg: 'RS256' },
      { alg: 'RS256', kid: keys.PS256.kid },
      claims,
    ),
    'an RS256 signature that says ES256': signWith(rsa, { alg: 'ES256', kid: keys.ES256.kid }, claims),
    'an ES256 signature that says EdDSA': signWith(keys.ES256, { alg: 'EdDSA', kid: keys.EdDSA.kid }, claims),
    'RS512 with the right key': signWith(rsa, { alg: 'RS512', kid: rsa.kid }, claims),
    ES256K: signWith(keys.ES256, { alg: 'ES256K', kid: keys.ES256.kid }, claims),
    'the right key under the kid of another': byRsa({ kid: keys.PS256.kid }),
    // Key ids and keys that a token brings along.
    'kid unknown': byMe({ kid: 'unknown' }),
    'kid a path': byMe({ kid: '../../../../dev/null' }),
    'kid a file': byMe({ kid: '/etc/passwd' }),
    'kid a URL': byMe({ kid: `${keysUrl}/mine` }),
    'kid of SQL': byMe({ kid: "' UNION SELECT 'AAAA" }),
    'kid __proto__': byMe({ kid: '__proto__' }),
    'kid constructor': byMe({ kid: 'constructor' }),
    'kid empty': byMe({ kid: '' }),
    'kid null': byMe({ kid: null }),
    'kid a number': byMe({ kid: 1 }),
    'kid a list': byMe({ kid: [rsa.kid] }),
    'HS256 with the kid of /dev/null': hmac('', { ...hs, kid: '/dev/null' }, claims),
    'jwk in the header': byMe({ kid: undefined, jwk: jwkOf(mine) }),
    'jku in the header': byMe({ jku: `${keysUrl}/mine`, kid: 'mine' }),
    'x5u in the header': byMe({ x5u: `${keysUrl}/mine` }),
    'x5c in the header': byMe({ x5c: [der.toString('base64')] }),
    // Critical extensions, types and forms.
    'crit of an extension': own({}, { ...hs, crit: ['exp'], exp: 1 }),
    'crit b64': own({}, { ...hs, crit: ['b64'], b64: false }),
    'crit empty': own({}, { ...hs, crit: [] }),
    'crit null': own({}, { ...hs, crit: null }),
    'crit a text': byRsa({ crit: 'exp' }),
    'typ of a refresh token': own({}, { ...hs, typ: 'tunnel-refresh+jwt' }),
    'typ of a logout token': byRsa({ typ: 'logout+jwt' }),
    'typ dpop+jwt': byRsa({ typ: 'dpop+jwt' }),
    'typ a list': byRsa({ typ: ['JWT'] }),
    'encrypted, it says': `${encoded({ alg: 'RSA-OAEP', enc: 'A256GCM' })}.AAAA.AAAA.AAAA.AAAA`,
    'two parts': `${header}.${payload}`,
    'four parts': `${header}.${payload}.${signature}.${signature}`,
    'other claims under a right signature': `${header}.${other}.${signature}`,
    'another header over a right signature': `${encoded({ alg: 'RS256', kid: rsa.kid })}.${payload}.${signature}`,
    'padding in it': `${header}=.${payload}.${signature}`,
    'a signature with another ending': `${header}.${payload}.${signature.slice(0, -2)}`,
    'claims that are no object': hmac(secret, hs, '"alice"'),
    'claims that are a list': hmac(secret, hs, [claims]),
    'claims that are no JSON': hmac(secret, hs, 'alice'),
    'a header that is no JSON': hmac(secret, 'HS256', claims),
    // Rightly signed, for others or for another time.
    'a foreign aud': own({ aud: 'another-service' }),
    'a list of foreign aud': byRsa({}, { aud: ['a', 'b'] }),
    'no aud': own({ aud: undefined }),
    'aud an object': own({ aud: { 0: claims.aud } }),
    'a foreign iss': byRsa({}, { iss: 'https://evil.example' }),
    'iss with a slash more': own({ iss: `${String(claims.iss)}/` }),
    'no iss': byRsa({}, { iss: undefined }),
    'not valid yet': own({ nbf: now + 600 }),
    'issued in the future': byRsa({}, { iat: now + 3_600 }),
    'no exp': own({ exp: undefined }),
    'exp null': own({ exp: null }),
    'exp as text': own({ exp: String(now + 600) }),
    'exp without end': hmac(
      secret,
      hs,
      JSON.stringify({ ...claims, exp: 0 }).replace('"exp":0', '"exp":1e999'),
    ),
    // User ids, roles and tiers.
    'no sub': own({ sub: undefined }),
    'sub a number': own({ sub: 7 }),
    'sub a list': own({ sub: ['alice'] }),
    'sub an object': own({ sub: { toString: 'alice' } }),
    'sub empty': own({ sub: '' }),
    'sub too long': own({ sub: 'a'.repeat(129) }),
    'sub with a slash': own({ sub: 'alice/home' }),
    'sub ..': own({ sub: '..' }),
    'sub ../alice': own({ sub: '../alice' }),
    'sub with a backslash': own({ sub: 'a\\alice' }),
    'sub with a blank': own({ sub: 'alice home' }),
    'sub with a line break': own({ sub: 'alice\nroot' }),
    'sub with a NUL': own({ sub: 'alice\0' }),
    'sub with DEL': own({ sub: 'alice\x7f' }),
    'sub with an escape': own({ sub: '\x1b[31malice' }),
    'sub with a Cyrillic a': own({ sub: '\u0430lice' }),
    'sub full width': own({ sub: '\uff41\uff4c\uff49\uff43\uff45' }),
    'sub with a combining accent': own({ sub: 'alice\u0301' }),
    'sub with a zero width joiner': own({ sub: 'ali\u200dce' }),
    'sub right to left': own({ sub: '\u202eecila' }),
    'sub half a surrogate': own({ sub: 'alice\ud800' }),
    'sub __proto__ as an object': hmac(secret, hs, `{"__proto__":${JSON.stringify(claims)}}`),
    'roles a text': own({ roles: 'admin' }),
    'roles an object': own({ roles: { 0: 'admin', length: 1 } }),
    'roles of lists': own({ roles: [['admin']] }),
    'too many roles': own({ roles: Array(33).fill('a') }),
    'a tier that there is not': own({ tier: 'root' }),
    'tier __proto__': own({ tier: '__proto__' }),
    'machine a path': own({ machine: '../x' }),
    'machine an object': own({ machine: {} }),
    // Sizes.
    'longer than a token': own({ junk: 'x'.repeat(9_000) }),
  }
}
