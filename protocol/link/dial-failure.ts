// What a dial found in place of a proxy, as something that a person can put right.

import { type ErrorCode, errorFromWire, isErrorCode, TunnelError } from '../codec/errors.ts'

/** An answer of something between here and the proxy that does not pass WebSockets: another transport may get through. */
export class UpgradeLost extends TunnelError {
  /** It had nothing behind it: a WebSocket may pass a moment later. */
  readonly mayPass: boolean

  constructor(message: string, mayPass = false) {
    super('CONNECT_REFUSED', message, { hop: 'proxy' })
    this.mayPass = mayPass
  }
}

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

/** A redirect, which no token follows; the usual cause is a reverse proxy that sends http to https. */
export function redirected(base: string, status: number, location: string | null | undefined): TunnelError {
  const to = location && URL.canParse(location, base) ? new URL(location, base).origin : 'elsewhere'
  const what = status === 0 ? 'with a redirect' : status // A browser hides which.
  const message = `${new URL(base).origin} answered ${what} and points to ${to}: use that address`
  return new TunnelError('CONNECT_REFUSED', message, { hop: 'proxy' })
}

/** Statuses of a reverse proxy that reaches nothing behind it. */
const NOTHING_BEHIND: ReadonlySet<number> = new Set([502, 503, 504])
/** Those of one that does not know, or does not allow, an upgrade. */
const NO_UPGRADE: ReadonlySet<number> = new Set([200, 400, 403, 426, 501, ...NOTHING_BEHIND])

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
function upgradeLost(base: string): string {
  const nginx =
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
  return `what stands between here and the proxy at ${new URL(base).origin} does not pass WebSockets on (nginx needs: ${nginx})`
}

/** An answer in place of a link: a problem document (RFC 9457) of ours, or a stranger's page. */
export function refusalOf(base: string, status: number, body: string): TunnelError {
  const problem = problemOf(body)
  if (problem?.code === 'REQUEST_INVALID') return new UpgradeLost(upgradeLost(base))
  if (problem !== undefined) return problem
  if (status === 401) return new TunnelError('TOKEN_INVALID', 'the proxy answered 401', { hop: 'proxy' })
  const message = notAProxy(base, status)
  if (NO_UPGRADE.has(status)) return new UpgradeLost(message, NOTHING_BEHIND.has(status))
  return new TunnelError('CONNECT_REFUSED', message, { hop: 'proxy' })
}

/** What a problem document of ours says; undefined for anything else. */
export function problemOf(body: string): TunnelError | undefined {
  try {
    const problem = JSON.parse(body) as Record<string, unknown> | null
    if (problem === null || !isErrorCode(problem.code)) return undefined
    return errorFromWire({ hop: 'proxy', ...problem, message: problem.detail ?? problem.title })
  } catch {
    return undefined
  }
}
