import { request as httpRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import { TunnelError } from '../codec/errors.ts'

/** Opens a connection to the HTTP proxy itself. */
export type ConnectToProxy = (done: (error: Error | null, socket?: Duplex) => void) => void

/** What tells an HTTP proxy who is asking (RFC 7617), from its URL; nothing where that names nobody. */
export function proxyAuthorization({ username, password }: URL): Record<string, string> {
  if (username === '' && password === '') return {}
  const credentials = `${decoded(username)}:${decoded(password)}`
  return { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` }
}

/** A `%` that stands for itself is one. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/**
 * A connection to `authority` through an HTTP proxy (CONNECT, RFC 9110, section 9.3.6). Node's own client reads the
 * answer, and so bounds it; `signal` ends the attempt with its socket.
 * @throws {TunnelError} HTTP_PROXY_AUTH_REQUIRED, HTTP_PROXY_FAILED; what `connect` fails with becomes the latter's cause
 */
export function connectThrough(
  proxy: URL,
  authority: string,
  connect: ConnectToProxy,
  signal: AbortSignal,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...proxyAuthorization(proxy) },
      createConnection: ((_options: unknown, done: Parameters<ConnectToProxy>[0]) => connect(done)) as never,
      signal,
    })
    request.once('error', (error: Error & { code?: string }) => reject(proxyUnusable(proxy, error)))
    request.once('connect', ({ statusCode = 0 }, socket, head) => {
      if (statusCode >= 200 && statusCode < 300) {
        if (head.length > 0) socket.unshift(head)
        return resolve(socket)
      }
      socket.on('error', () => {}).destroy()
      reject(proxyRefusal(proxy, statusCode, `the way to ${authority}`))
    })
    request.end()
  })
}

/** What an HTTP proxy says of a request in place of an answer to it. */
export function proxyRefusal(proxy: URL, status: number, what: string): TunnelError {
  const { host, username } = proxy
  // tinyproxy says 401 where a password is wrong.
  if (status !== 407 && status !== 401) {
    const message = `the HTTP proxy ${host} answered ${status} and does not open ${what}`
    return new TunnelError('HTTP_PROXY_FAILED', message, { hop: 'proxy' })
  }
  const why =
    username === '' ? 'asks for a name and a password' : 'does not accept the name and password of its URL'
  return new TunnelError('HTTP_PROXY_AUTH_REQUIRED', `the HTTP proxy ${host} ${why}`, { hop: 'proxy' })
}

function proxyUnusable({ host }: URL, cause: Error & { code?: string }): TunnelError {
  // Of TLS to the proxy.
  if (cause instanceof TunnelError) return cause
  const why = cause.code?.startsWith('HPE_')
    ? 'does not answer as one'
    : `cannot be used (${cause.code ?? cause.message})`
  return new TunnelError('HTTP_PROXY_FAILED', `the HTTP proxy ${host} ${why}`, { cause, hop: 'proxy' })
}

/** @throws {TunnelError} CONFIG_INVALID, without what may be a password */
export function parseProxy(text: string, source: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.hostname !== '') return url
  const scheme = url === undefined || url.protocol === '' ? '' : ` (${url.protocol}//)`
  const message = `${source} is not the URL of an HTTP proxy${scheme}: it must look like http://proxy.example.com:3128`
  throw new TunnelError('CONFIG_INVALID', message, { hop: 'client' })
}
