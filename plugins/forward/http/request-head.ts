import { hasHeader, upgradeOf } from '../../../protocol/codec/headers.ts'
import type { HeaderList, HttpRequestHead } from '../../../protocol/codec/heads.ts'
import { FIELD_VALUE, METHODS_WITH_BODY } from '../../../protocol/codec/http-rules.ts'
import { bodyLengthWrong, requestInvalid } from '../errors.ts'
import { requestHeaders } from './headers.ts'

/** How the body of a request is delimited; a number is its length in bytes. */
export type BodyFraming = 'none' | 'chunked' | number

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/
/** RFC 9112, section 3.2.1, and what services take beside it: no spaces, no control characters. */
const ORIGIN_FORM = /^\/[\x21-\x7e\x80-\xff]*$/
/** Its host has ASCII alone: written in Latin-1, U+010A would be a line's end. */
const ABSOLUTE_FORM = /^https?:\/\/([!"$-.0->A-~]+)([/?#].*)?$/i
/** For these the first byte of a body, or its end, is waited for: none is to come unless one shows itself. */
const BODILESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE'])

/** Whether a request may turn out to have no body. */
export function mayBeBodiless({ method, headers }: HttpRequestHead): boolean {
  return BODILESS.has(method.toUpperCase()) && !hasHeader(headers, 'content-length')
}

/** The one length that the headers give; undefined where they give none. @throws {TunnelError} FRAME_INVALID */
export function declaredLength(headers: HeaderList): number | undefined {
  let length: string | undefined
  for (const [name, value] of headers) {
    if (name.length !== 14 || name.toLowerCase() !== 'content-length') continue
    if (!/^\d{1,15}$/.test(value) || (length !== undefined && length !== value))
      throw requestInvalid(`"${value.slice(0, 40)}" is not a valid Content-Length`)
    length = value
  }
  return length === undefined ? undefined : Number(length)
}

/** How a body that is there, whole, is sent. @throws {TunnelError} FRAME_INVALID when its length is declared wrongly */
export function framingOfWhole(request: HttpRequestHead, byteCount: number): BodyFraming {
  const declared = declaredLength(request.headers)
  if (declared !== undefined && declared !== byteCount) throw bodyLengthWrong(declared, byteCount)
  return declared === undefined && byteCount === 0 && !METHODS_WITH_BODY.has(request.method)
    ? 'none'
    : byteCount
}

/** What a request says to the service about the connection itself. */
export interface HopOptions {
  /** The protocol to switch to; its bytes follow the response. */
  upgrade?: string | undefined
  /** Trailers of the response are wanted. */
  trailers?: boolean
  /** The body waits for an interim response. */
  expectsContinue?: boolean
}

/** The protocol that a request asks to switch to. One that has a body cannot: nobody could tell where that ends. */
export function upgradeAsked({ method, headers }: HttpRequestHead): string | undefined {
  return method === 'GET' && !hasHeader(headers, 'content-length') ? upgradeOf(headers) : undefined
}

function connectionText({ upgrade, trailers }: HopOptions): string {
  if (upgrade !== undefined) return `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`
  return trailers ? 'Connection: keep-alive, TE\r\nTE: trailers\r\n' : 'Connection: keep-alive\r\n'
}

/**
 * The head as it goes to the service, in Latin-1.
 * @throws {TunnelError} FRAME_INVALID for what cannot be said in HTTP/1.1
 */
export function requestText(
  request: HttpRequestHead,
  more: Record<string, string>,
  authority: string,
  framing: BodyFraming,
  hop: HopOptions = {},
): string {
  const { method } = request
  if (hop.upgrade !== undefined && !FIELD_VALUE.test(hop.upgrade))
    throw requestInvalid('the header Upgrade has characters that no header has')
  if (!TOKEN.test(method))
    throw requestInvalid(`${JSON.stringify(method.slice(0, 40))} is not a valid method`)
  const { path, host } = originForm(request.path, method)
  let fields = ''
  let given: string | undefined
  for (const [name, value] of requestHeaders(request.headers, more, framing === 'chunked')) {
    if (!TOKEN.test(name))
      throw requestInvalid(`${JSON.stringify(name.slice(0, 40))} is not a valid header name`)
    if (!FIELD_VALUE.test(value)) throw requestInvalid(`the header ${name} has characters that no header has`)
    const lower = name.toLowerCase()
    if (lower === 'host') given = value
    else if (lower !== 'content-length') fields += `${name}: ${value}\r\n`
  }
  if (framing === 'chunked') fields += 'Transfer-Encoding: chunked\r\n'
  else if (framing !== 'none') fields += `Content-Length: ${framing}\r\n`
  if (hop.expectsContinue) fields += 'Expect: 100-continue\r\n'
  const line = `${method} ${path} HTTP/1.1\r\nHost: ${host ?? given ?? authority}\r\n`
  return `${line}${connectionText(hop)}${fields}\r\n`
}

/** Trailers as they go behind the last chunk. @throws {TunnelError} FRAME_INVALID for what cannot be said in HTTP/1.1 */
export function trailersText(fields: HeaderList): string {
  return fields
    .map(([name, value]) => {
      if (!TOKEN.test(name) || !FIELD_VALUE.test(value))
        throw requestInvalid('it has a trailer that is not valid')
      return `${name}: ${value}\r\n`
    })
    .join('')
}

/** The path as a service is asked for it; the host where the path named one (RFC 9112, section 3.2.2). */
function originForm(asked: string, method: string): { path: string; host?: string } {
  if (asked === '*' && method === 'OPTIONS') return { path: '*' }
  const absolute = ABSOLUTE_FORM.exec(asked)
  const rest = (absolute === null ? asked : (absolute[2] ?? '/')).split('#', 1)[0] as string
  const path = absolute !== null && !rest.startsWith('/') ? `/${rest}` : rest
  if (!ORIGIN_FORM.test(path))
    throw requestInvalid(`${JSON.stringify(asked.slice(0, 80))} is not a valid path`)
  return absolute === null ? { path } : { path, host: absolute[1] as string }
}
