// Why there is no connection to a proxy, as something that a person can put right.

import { type ErrorCode, TunnelError } from '../codec/errors.ts'

const CODES: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['ENOTFOUND', 'DNS_FAILED'],
  ['EAI_AGAIN', 'DNS_FAILED'],
  ['TimeoutError', 'TIMEOUT'],
  ['ETIMEDOUT', 'TIMEOUT'],
  ['ECONNRESET', 'LINK_LOST'],
  ['EPIPE', 'LINK_LOST'],
])

const TEXTS: Partial<Record<ErrorCode, (where: string) => string>> = {
  DNS_FAILED: (where) => `the name of ${where} could not be resolved`,
  TIMEOUT: (where) => `${where} did not answer in time`,
  LINK_LOST: (where) => `the connection to ${where} was cut before there was a link`,
}

/**
 * Why a connection to a proxy did not come about, by the first error in the chain of causes that says it.
 * @param where host and port, for people
 */
export function connectionFailure(where: string, thrown: unknown): TunnelError {
  const options = { cause: thrown, hop: 'proxy' } as const
  for (let cause = thrown; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TunnelError) return cause
    const system = 'code' in cause ? String(cause.code) : ''
    const code = CODES.get(system) ?? CODES.get(cause.name)
    if (code !== undefined) return new TunnelError(code, TEXTS[code]?.(where) ?? code, options)
    if (system === 'ECONNREFUSED')
      return new TunnelError('CONNECT_REFUSED', `nothing listens at ${where}`, options)
    const tls = tlsFailure(system)
    if (tls !== undefined) return new TunnelError(...tls(where), options)
  }
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  return new TunnelError('CONNECT_REFUSED', `${where} could not be reached (${text})`, options)
}

type Told = (where: string) => [code: ErrorCode, message: string]

/** What is wrong with TLS, by the error's code; undefined for other errors. */
function tlsFailure(code: string): Told | undefined {
  if (/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ISSUER/.test(code) && !code.startsWith('ERR_SSL'))
    return (where) => ['CERTIFICATE_UNTRUSTED', `the certificate of ${where} is not accepted (${code})`]
  if (/ALERT_(CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA)/.test(code))
    return (where) => [
      'TLS_FAILED',
      `${where} asks for a client certificate that it accepts: tls.cert and tls.key name it (${code})`,
    ]
  if (/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL/.test(code))
    return (where) => [
      'TLS_FAILED',
      `${where} speaks no TLS as new as is asked for; tls.minVersion=TLSv1.2 allows the older one (${code})`,
    ]
  // OpenSSL on what is no TLS, and the parser of HTTP on what is.
  if (code === 'EPROTO' || code.startsWith('ERR_SSL'))
    return (where) => ['CONNECT_REFUSED', `${where}: it does not speak TLS here; did you mean http://?`]
  if (code.startsWith('HPE_'))
    return (where) => ['CONNECT_REFUSED', `${where}: it does not speak HTTP here; did you mean https://?`]
  return undefined
}
