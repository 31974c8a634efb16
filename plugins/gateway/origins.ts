import type { IncomingMessage } from 'node:http'

/** Methods that change nothing (RFC 9110, section 9.2.1). */
const SAFE: ReadonlySet<string | undefined> = new Set(['GET', 'HEAD'])

/**
 * Whether a request that a cookie lets in was meant by whoever uses the browser. All machines' hosts are one site to a
 * browser, so that SameSite keeps no page of one from asking another in the user's name: what tells is Sec-Fetch-Site,
 * and Origin where a browser does not send that. A link from elsewhere may be followed, in a tab of its own.
 * @param own the origin that was asked
 */
export function isMeant({ method, headers }: IncomingMessage, own: string): boolean {
  const site = headers['sec-fetch-site']
  if (site === undefined) return headers.origin === undefined || headers.origin === own
  if (site === 'same-origin' || site === 'none') return true
  return (
    SAFE.has(method) && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
  )
}
