// What a dial found in place of a proxy, as something that a person can put right.

/** What is wrong with TLS, by the error's code; undefined for other errors. */
export function tlsFailure(code: string, message: string): string | undefined {
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/.test(code)) {
    return `its certificate is not accepted (${message}); NODE_EXTRA_CA_CERTS names a file with your own authority's`
  }
  // OpenSSL on what is no TLS, and the parser of HTTP on what is.
  if (code === 'EPROTO' || code.startsWith('ERR_SSL'))
    return 'it does not speak TLS here; did you mean http://?'
  if (code.startsWith('HPE_')) return 'it does not speak HTTP here; did you mean https://?'
  return undefined
}

/** A redirect, which no token follows; the usual cause is a reverse proxy that sends http to https. */
export function redirected(base: string, status: number, location: string | undefined): string {
  const to =
    location !== undefined && URL.canParse(location, base) ? new URL(location, base).origin : 'elsewhere'
  return `${new URL(base).origin} answered ${status} and points to ${to}: use that address`
}

/** Statuses of a reverse proxy that reaches nothing behind it. */
const NOTHING_BEHIND: ReadonlySet<number> = new Set([502, 503, 504])

/** An answer that no proxy of ours gives, by its status. */
export function notAProxy(base: string, status: number): string {
  const { origin, protocol } = new URL(base)
  if (NOTHING_BEHIND.has(status))
    return `${origin} answered ${status}: the tunnel proxy behind it does not run`
  const isPlain = protocol === 'http:' || protocol === 'ws:'
  const hint = status === 400 && isPlain ? '; did you mean https://?' : ''
  return `${origin} answered ${status}, it is not a tunnel proxy${hint}`
}

/** The proxy got our request without its wish for a WebSocket. */
export function upgradeLost(base: string): string {
  const nginx =
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
  return `what stands between here and the proxy at ${new URL(base).origin} does not pass WebSockets on (nginx needs: ${nginx})`
}
