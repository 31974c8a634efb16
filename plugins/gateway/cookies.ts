/**
 * The gateway's cookie. Its prefix makes browsers hold it to one host, to TLS (or this computer) and to what the server
 * itself has set (RFC 6265bis, section 4.1.3.2).
 */
const COOKIE = '__Host-tunnel-session'

/** The values of a request's Cookie header by that name. */
export function cookieOf(header: string | undefined): string | undefined {
  for (const pair of (header ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at >= 0 && pair.slice(0, at).trim() === COOKIE) return pair.slice(at + 1).trim()
  }
  return undefined
}

/** The same header for the service, to which the gateway's cookie says nothing; empty where no other is left. */
export function withoutCookie(header: string): string {
  if (!header.includes(COOKIE)) return header
  return header
    .split(';')
    .filter((pair) => pair.split('=', 1)[0]?.trim() !== COOKIE)
    .join(';')
    .trim()
}

export function setCookie(secret: string, maxAgeMs: number): string {
  const maxAge = Math.floor(maxAgeMs / 1_000)
  return `${COOKIE}=${secret}; Path=/; Max-Age=${maxAge}; Secure; HttpOnly; SameSite=Lax`
}

/**
 * A cookie of a service as its own host has it: one for the whole domain would go to the services of all machines.
 * Undefined for one that is named as the gateway's.
 */
export function ownCookie(header: string): string | undefined {
  const [pair = '', ...attributes] = header.split(';')
  if (pair.split('=', 1)[0]?.trim() === COOKIE) return undefined
  return [pair, ...attributes.filter((attribute) => !/^\s*domain\s*(=|$)/i.test(attribute))].join(';')
}
