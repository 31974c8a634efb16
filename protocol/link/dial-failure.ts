// What a dial found in place of a proxy, as something that a person can put right.

import { type ErrorCode, errorFromWire, isErrorCode, TunnelError } from '../codec/errors.ts'

/** Something between here and the proxy does not pass WebSockets, or does not answer: another transport may get through. */
export class UpgradeLost extends TunnelError {
  /** It had nothing behind it: a WebSocket may pass a moment later. */
  readonly mayPass: boolean

  constructor(message: string, mayPass = false, code: ErrorCode = 'CONNECT_REFUSED') {
    super(code, message, { hop: 'proxy' })
    this.mayPass = mayPass
  }
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
