import type { HeaderList, HttpResponseHead } from '../protocol/codec/heads.ts'
import { type BodyLike, knownSize } from './upload.ts'

export interface HttpHop {
  url: URL
  method: string
  headers: HeaderList
  body: BodyLike | undefined
}

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]'])
const BODY_HEADERS: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-type',
])

/** Another port is another origin, which they were not meant for. */
const CREDENTIALS: ReadonlySet<string> = new Set(['authorization', 'cookie', 'proxy-authorization'])

/**
 * Where a redirect sends the client, by the Fetch standard; undefined where it is to be given to the caller as it is: it
 * names no place, leaves the machine (a tunnel does not reach the world), or needs a body that is used up.
 */
export function redirected(hop: HttpHop, { status, headers }: HttpResponseHead): HttpHop | undefined {
  const location = headers.find(([name]) => name.toLowerCase() === 'location')?.[1]
  if (location === undefined || !URL.canParse(location, hop.url.href)) return undefined
  const url = new URL(location, hop.url)
  // The service knows itself as 127.0.0.1; the caller knows it by the machine's name.
  if (LOOPBACK.has(url.hostname)) url.hostname = hop.url.hostname
  if (url.hostname !== hop.url.hostname || url.protocol !== 'http:') return undefined
  if (url.hash === '') url.hash = hop.url.hash

  const headersThere = url.port === hop.url.port ? hop.headers : without(hop.headers, CREDENTIALS)
  const toGet =
    (status === 303 && hop.method !== 'GET' && hop.method !== 'HEAD') ||
    (status <= 302 && hop.method === 'POST')
  if (toGet) {
    return { url, method: 'GET', headers: without(headersThere, BODY_HEADERS), body: undefined }
  }
  if (knownSize(hop.body) === undefined) return undefined
  return { ...hop, url, headers: headersThere }
}

function without(headers: HeaderList, names: ReadonlySet<string>): HeaderList {
  return headers.filter(([name]) => !names.has(name.toLowerCase()))
}
