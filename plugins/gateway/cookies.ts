/**
 * The gateway's cookie. Its prefix makes browsers hold it to one host, to TLS (or this computer) and to what the server
 * itself has set (RFC 6265bis, section 4.1.3.2).
 */
const COOKIE = '__Host-tunnel-session'

/** Browsers send one of that name. Of more, which another host may have set in an older one, so many are looked at. */
const MAX_TRIED = 8

/** The values of a request's Cookie header by that name. */
export function cookiesOf(header: string | undefined): string[] {
  const values = new Set<string>()
  for (const pair of (header ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at >= 0 && pair.slice(0, at).trim() === COOKIE) values.add(pair.slice(at + 1).trim())
  }
  return [...values].slice(0, MAX_TRIED)
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

/**
 * Of the cookies of a site, which all hosts are together, a browser keeps so many. With that priority, which Chromium
 * knows, it forgets others first.
 */
export function setCookie(secret: string, maxAgeMs: number): string {
  const maxAge = Math.floor(maxAgeMs / 1_000)
  return `${COOKIE}=${secret}; Path=/; Max-Age=${maxAge}; Secure; HttpOnly; SameSite=Lax; Priority=High`
}

/**
 * A cookie of a service as its own host has it: one for the whole domain would go to the services of all machines.
 * Undefined for one that a browser would send by the name of the gateway's, which may be the value of one without a name.
 */
export function ownCookie(header: string): string | undefined {
  const { pair, attributes } = partsOf(header)
  if (
    pair
      .replace(/^[\s=]+/, '')
      .split('=', 1)[0]
      ?.trim() === COOKIE
  )
    return undefined
  return [pair, ...attributes.filter((attribute) => !isNamed(attribute, 'domain'))].join(';')
}

/**
 * A cookie of a service in the form by path: for what is under its own prefix alone, for all services have one host.
 * @param prefix what stands before the service's path in the URL
 * @param asked the service's path that was asked for
 */
export function prefixedCookie(header: string, prefix: string, asked: string): string {
  const { pair, attributes } = partsOf(header)
  const given = attributes.findLast((attribute) => isNamed(attribute, 'path'))
  const value = given?.slice(given.indexOf('=') + 1).trim() ?? ''
  // RFC 6265, section 5.1.4: without one it is the folder of what was asked.
  const path = value.startsWith('/') ? value : asked.replace(/\?.*$/s, '').replace(/\/[^/]*$/, '')
  const isKnown = path === prefix || path.startsWith(`${prefix}/`)
  const others = attributes.filter(
    (attribute) => !isNamed(attribute, 'path') && !isNamed(attribute, 'domain'),
  )
  return [pair, ...others, ` Path=${isKnown ? path : prefix + path.replace(/^\/$/, '')}`].join(';')
}

function partsOf(header: string): { pair: string; attributes: string[] } {
  const [pair = '', ...attributes] = header.split(';')
  return { pair, attributes }
}

function isNamed(attribute: string, name: string): boolean {
  return attribute.split('=', 1)[0]?.trim().toLowerCase() === name
}
