// What a dial found in place of a proxy, as something that a person can put right.

/** What is wrong with TLS, by the error's code; undefined for other errors. */
export function tlsFailure(code: string, message: string): string | undefined {
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/.test(code)) {
    return `its certificate is not accepted (${message}); NODE_EXTRA_CA_CERTS names a file with your own authority's`
  }
  // OpenSSL on what is no TLS, and the parser of HTTP on what is.
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) return 'it speaks no TLS that is understood here'
  if (code.startsWith('HPE_')) return 'it speaks no HTTP; an address with https:// may be meant'
  return undefined
}

/** A redirect, which no token follows; the usual cause is a reverse proxy that sends http to https. */
export function redirected(base: string, status: number, location: string | undefined): string {
  const to =
    location !== undefined && URL.canParse(location, base) ? new URL(location, base).origin : 'elsewhere'
  return `${new URL(base).origin} answered ${status} and points to ${to}: use that address`
}
