import { hash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { readMachine } from '../../protocol/codec/heads.ts'

/** The service that a URL names: by its path, or by its host. */
export interface Asked {
  form: 'path' | 'host'
  /** By its path also `owner/name`, as `owner%2Fname`. */
  machine: string
  port: string
  /** Path and query as they are for the service, byte for byte. */
  path: string
  /** What stands before `path` in the URL; empty in the form by host. */
  prefix: string
  /** Whose the host is (`ownerTag`). Without one a host shows nothing to a browser. */
  owner?: string
}

/** RFC 9112, section 3.2.2: every server takes these. */
const ABSOLUTE = /^https?:\/\/([^/?#]*)(.*)$/s
const PATH_FORM = /^(\/api\/tunnel\/machines\/([^/?#]+)\/http\/([^/?#]+))(.*)$/s
const HOST_LABEL = /^([a-z0-9-]+?)--(\d{1,5})(?:--([a-z2-7]{16}))?$/
/** Of a DNS name (RFC 1035, section 2.3.4). */
const MAX_LABEL = 63

/** What a request asks the gateway for; undefined where it does not. `domain` is the setting `gateway.host`. */
export function askedOf(request: IncomingMessage, domain: string): Asked | undefined {
  const { originalUrl, url = '' } = request as IncomingMessage & { originalUrl?: string }
  const given = originalUrl ?? url
  const absolute = ABSOLUTE.exec(given)
  const path = absolute?.[2] ?? given
  const byHost = ofHost(absolute?.[1] ?? request.headers.host ?? '', domain)
  if (byHost !== undefined) return { ...byHost, form: 'host', path: rooted(path), prefix: '' }
  const [, prefix = '', machine = '', port = '', rest = ''] = PATH_FORM.exec(path) ?? []
  return prefix === ''
    ? undefined
    : { form: 'path', machine: decoded(machine), port, path: rooted(rest), prefix }
}

/** What is no encoding at all is the name of no machine, and is told so. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

function rooted(path: string): string {
  return path.startsWith('/') || path === '*' ? path : `/${path}`
}

function ofHost(authority: string, domain: string): Pick<Asked, 'machine' | 'port' | 'owner'> | undefined {
  if (domain === '') return undefined
  const host = authority.toLowerCase().replace(/:\d*$/, '')
  if (!host.endsWith(`.${domain}`)) return undefined
  const [, machine, port, owner] = HOST_LABEL.exec(host.slice(0, -domain.length - 1)) ?? []
  if (machine === undefined || port === undefined) return undefined
  return { machine, port, ...(owner !== undefined && { owner }) }
}

/**
 * The URL by which the router finds the gateway's route: what is for the service is no business of the router's, which
 * would decode it. Any other URL stays as it is.
 */
export function routedUrl(request: IncomingMessage, domain: string): string {
  const asked = askedOf(request, domain)
  return asked === undefined
    ? (request.url ?? '')
    : `/api/tunnel/machines/${encodeURIComponent(asked.machine)}/http/${asked.port}/`
}

/**
 * Tells users apart in host names. Each has origins of their own: under one name the pages of one user's machine could
 * reach what another's browser keeps, and does, for a machine that is called the same.
 * @param sharer whose machine it is, where a user means somebody else's by name
 */
export function ownerTag(userId: string, sharer?: string): string {
  const whose = sharer === undefined ? userId : `${userId}\n${sharer}`
  const bytes = hash('sha256', `ssh-websocket-tunnel gateway ${whose}`, 'buffer')
  return Array.from(bytes.subarray(0, 16), (byte) => ALPHABET[byte % ALPHABET.length]).join('')
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** The host of a user's service; undefined where a name with a dot, or a long one, cannot stand in one. */
export function hostOf(machine: string, port: number, userId: string, domain: string): string | undefined {
  const { owner, name } = readMachine(machine)
  const label = `${name}--${port}--${ownerTag(userId, owner === userId ? undefined : owner)}`
  return domain === '' || name.includes('.') || label.length > MAX_LABEL ? undefined : `${label}.${domain}`
}
