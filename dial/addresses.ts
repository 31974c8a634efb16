import { TunnelError } from '../protocol/codec/errors.ts'
import { nearest } from '../protocol/nearest.ts'

const API = '/api/tunnel'

export interface ProxyAddress {
  /** Where links are dialled: `ws(s)://…/api/tunnel/connect`, or another route. */
  link: string
  /** `http(s)://…/api/tunnel`, without a slash at its end. */
  api: string
}

/**
 * The addresses of one proxy, from its base: http(s) or ws(s), with or without a path before /api/tunnel.
 * @throws {TunnelError} CONFIG_INVALID
 */
export function addressOf(base: string, route: 'connect' | 'agent' = 'connect'): ProxyAddress {
  // URL takes white space out, and other readers of the same text do not.
  const url = !/\s/.test(base) && URL.canParse(base) ? new URL(base) : undefined
  if (url === undefined || !/^(http|ws)s?:$/.test(url.protocol)) {
    const meant = meantBy(base)
    const hint = meant === undefined ? '' : `; did you mean ${meant}?`
    const message = `${JSON.stringify(base)} is not a valid address of a proxy: it must look like http://127.0.0.1:3001 or wss://tunnel.example.com${hint}`
    throw new TunnelError('CONFIG_INVALID', message, { hop: 'client' })
  }
  // Never shown, never sent: a secret in an address ends in logs and lists of processes.
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    const message =
      'the address of the proxy takes no name, password, query or fragment; a token has its own option'
    throw new TunnelError('CONFIG_INVALID', message, { hop: 'client' })
  }
  const secure = url.protocol === 'https:' || url.protocol === 'wss:' ? 's' : ''
  const path = url.pathname.replace(new RegExp(`(${API}(/(connect|agent))?)?/*$`), '') + API
  return { link: `ws${secure}://${url.host}${path}/${route}`, api: `http${secure}://${url.host}${path}` }
}

const SCHEMES = ['https', 'http', 'wss', 'ws']

/** The address with its scheme put right, or with the one that it lacks. */
function meantBy(base: string): string | undefined {
  // Behind a colon alone, digits are a port.
  const [, scheme, rest = base] = /^([a-z]+):(?:\/+|(?!\d))(.*)$/i.exec(base) ?? []
  const usual = /^(localhost|127\.|\[::1\])/.test(rest) ? 'http' : 'https'
  const known = scheme === undefined ? usual : nearest(scheme, SCHEMES)
  const meant = `${known}://${rest}`
  // Nothing that may hold a name or a password is said again.
  return known !== undefined && /^[\w.:[\]-]+(\/[\w.-]+)*\/?$/.test(rest) && URL.canParse(meant)
    ? meant
    : undefined
}

/** @throws {TunnelError} CONFIG_INVALID */
export function addressesOf(bases: string | readonly string[], route?: 'connect' | 'agent'): ProxyAddress[] {
  // From plain JavaScript it may be missing, or a URL.
  const list = Array.isArray(bases) ? bases : bases === undefined ? [] : [bases]
  if (list.length === 0)
    throw new TunnelError('CONFIG_INVALID', 'the address of the proxy is missing (url)', { hop: 'client' })
  return list.map((base) => addressOf(String(base), route))
}
