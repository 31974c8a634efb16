import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'
import { endToEnd, upgradeOf } from '../../protocol/codec/headers.ts'
import type { HeaderList } from '../../protocol/codec/heads.ts'
import { withoutCookie } from './cookies.ts'

/** By what name the gateway stands in Via (RFC 9110, section 7.6.3). */
export const PSEUDONYM = 'ssh-websocket-tunnel'

/** Who asks, as far as the proxy itself knows. */
export interface Caller {
  /** The nearest last. */
  addresses: readonly string[]
  protocol: string
  /** The host that was asked for. */
  host: string
  /** What stands before the service's path in the URL. */
  prefix: string
  /** `Authorization` is meant for the service: it is not what let the caller in. */
  passesAuthorization: boolean
}

/** The service's own credentials, where Authorization is the tunnel's. */
const TARGET_AUTHORIZATION = 'x-target-authorization'
/** What only a proxy may say; a CGI program takes `_` for `-`. */
const FORWARDED = /^(x[-_]forwarded[-_].*|x[-_]real[-_]ip|forwarded)$/i

/** The fields of a request as they are in its head, name and value by turns. */
export function pairs(raw: readonly string[]): HeaderList {
  const fields: HeaderList = []
  for (let index = 0; index + 1 < raw.length; index += 2)
    fields.push([raw[index] as string, raw[index + 1] as string])
  return fields
}

/** What a service is told. `host` is the one that it is asked for. */
export function requestHeaders(request: IncomingMessage, caller: Caller, host: string): HeaderList {
  const given = pairs(request.rawHeaders)
  const upgrade = upgradeOf(given)
  // First what its connection names: it must not name what is added here.
  const headers: HeaderList = [['Host', host]]
  for (const [name, value] of endToEnd(given, true)) {
    const field = ofCaller(name, value, caller.passesAuthorization)
    if (field !== undefined) headers.push(field)
  }
  headers.push(['Via', `${request.httpVersion} ${PSEUDONYM}`], ...forwarded(caller))
  if (upgrade !== undefined) headers.push(['Connection', 'Upgrade'], ['Upgrade', upgrade])
  return headers
}

function ofCaller(name: string, value: string, passesAuthorization: boolean): [string, string] | undefined {
  const lower = name.toLowerCase()
  if (lower === 'host' || lower === 'expect' || FORWARDED.test(lower)) return undefined
  if (lower === 'authorization') return passesAuthorization ? [name, value] : undefined
  if (lower === TARGET_AUTHORIZATION) return passesAuthorization ? undefined : ['Authorization', value]
  if (lower !== 'cookie') return [name, value]
  const left = withoutCookie(value)
  return left === '' ? undefined : [name, left]
}

/** RFC 7239, and what came before it. */
function forwarded({ addresses, protocol, host, prefix }: Caller): HeaderList {
  const client = addresses[0] ?? 'unknown'
  const node = isIPv6(client) ? `"[${client}]"` : client
  const fields: HeaderList = [
    ['Forwarded', `for=${node};host="${host.replaceAll(/["\\]/g, '')}";proto=${protocol}`],
    ['X-Forwarded-For', addresses.join(', ')],
    ['X-Forwarded-Host', host],
    ['X-Forwarded-Proto', protocol],
  ]
  if (prefix !== '') fields.push(['X-Forwarded-Prefix', prefix])
  return fields
}
