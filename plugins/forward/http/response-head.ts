import { endToEnd, hasHeader, isNamed, upgradeOf, valuesOf } from '../../../protocol/codec/headers.ts'
import type { HeaderList, HttpResponseHead } from '../../../protocol/codec/heads.ts'
import { FIELD_NAME, FIELD_VALUE } from '../../../protocol/codec/http-rules.ts'

/** What a service did that HTTP/1.1 does not have. Its text goes on from the service's address. */
export class ResponseError extends Error {
  override readonly name = 'ResponseError'
}

/** How the body of a response is delimited; a number is its length in bytes. */
export type Framing = 'chunked' | 'untilClose' | number

export interface ParsedHead {
  head: HttpResponseHead
  framing: Framing
  /** Another request may follow on the same connection. */
  persistent: boolean
  /** From `Keep-Alive: timeout=…`. */
  keepAliveMs: number | undefined
}

const STATUS_LINE = /^HTTP\/1\.(\d) (\d{3})(?: ([^\n]*))?$/
/** RFC 9110, section 5.5: these are never part of a field's value. */
const FORBIDDEN = /[\0\r]/
/** RFC 9110, section 6.5.1: what has to be known before the body. */
const FRAMING = /^(content-length|transfer-encoding|host)$/i

/** What may come in response, beside what always may. */
export interface Expected {
  /** The request asked for another protocol: 101 switches to it. */
  upgrade?: boolean
  /** The announcement of trailers is wanted. */
  trailers?: boolean
}

/**
 * A head as it came, in Latin-1, up to and with its empty line.
 * @throws {ResponseError}
 */
export function parseHead(text: string, method: string, expected: Expected = {}): ParsedHead {
  const lines = text.split('\n')
  const statusLine = withoutCr(lines[0] ?? '')
  const parsed = STATUS_LINE.exec(statusLine)
  if (parsed === null) throw new ResponseError('does not answer in HTTP/1.1')
  const status = Number(parsed[2])
  if (status < 100) throw new ResponseError(`does not answer in HTTP/1.1: ${parsed[2]} is not a valid status`)
  const phrase = parsed[3] ?? ''
  const fields = parseFields(lines)
  const framing = status === 101 ? 'untilClose' : framingOf(status, method, fields)
  const headers = withOneLength(endToEnd(fields, expected.trailers), framing)
  if (status === 101) headers.push(...switching(fields, expected))
  return {
    // What is not a phrase is ignored.
    head: { status, statusText: FIELD_VALUE.test(phrase) ? phrase : '', headers },
    framing,
    persistent: framing !== 'untilClose' && isPersistent(parsed[1] !== '0', fields),
    keepAliveMs: keepAliveMs(fields),
  }
}

/** Beside chunks a length says nothing, and of several one might believe another (RFC 9112, section 6.3). */
function withOneLength(headers: HeaderList, framing: Framing): HeaderList {
  const isLength = ([name]: HeaderList[number]): boolean => isNamed(name, 'content-length')
  const first = headers.find(isLength)
  if (first === undefined) return headers
  const value = first[1].split(',', 1)[0] ?? ''
  const isKept = framing !== 'chunked' && /^\d{1,15}$/.test(value)
  if (isKept && value === first[1] && headers.findLast(isLength) === first) return headers
  const kept: HeaderList = isKept ? [[first[0], value]] : []
  return headers.flatMap((field) => (field === first ? kept : isLength(field) ? [] : [field]))
}

/** What 101 says of the connection, which is the opener's from here on. */
function switching(fields: HeaderList, { upgrade = false }: Expected): HeaderList {
  const protocol = upgradeOf(fields)
  if (!upgrade) throw new ResponseError('switched to another protocol, which was not asked for')
  if (protocol === undefined) throw new ResponseError('does not say to which protocol it has switched')
  return [
    ['Connection', 'Upgrade'],
    ['Upgrade', protocol],
  ]
}

/** Trailers as they came, up to and with their empty line. @throws {ResponseError} */
export function parseTrailers(text: string): HeaderList {
  const fields = endToEnd(parseFields(['', ...text.split('\n')]))
  return fields.filter(([name]) => !FRAMING.test(name))
}

function parseFields(lines: readonly string[]): HeaderList {
  const fields: HeaderList = []
  // The last two are the empty line, and what is behind it.
  for (let index = 1; index < lines.length - 2; index++) {
    const line = withoutCr(lines[index] as string)
    if (FORBIDDEN.test(line)) throw new ResponseError('sent a header with characters that no header has')
    const first = line.charCodeAt(0)
    const before = fields.at(-1)
    if (isBlank(first)) {
      // A folded line (RFC 9112, section 5.2).
      if (before === undefined)
        throw new ResponseError('does not answer in HTTP/1.1: its first header has no name')
      before[1] = trimmed(`${before[1]} ${trimmed(line)}`)
      continue
    }
    const colon = line.indexOf(':')
    const name = trimmed(line.slice(0, Math.max(0, colon)))
    if (!FIELD_NAME.test(name))
      throw new ResponseError(
        `does not answer in HTTP/1.1: ${JSON.stringify(line.slice(0, 40))} is not a header`,
      )
    fields.push([name, trimmed(line.slice(colon + 1))])
  }
  return fields
}

/** RFC 9112, section 6.3. */
function framingOf(status: number, method: string, fields: HeaderList): Framing {
  // A length here is that of the response to GET (RFC 9110, section 8.6).
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return 0
  const codings = valuesOf(fields, 'transfer-encoding').filter((coding) => coding !== 'identity')
  if (codings.length > 0) {
    if (codings.length === 1 && codings[0] === 'chunked') return 'chunked'
    throw new ResponseError(
      `answers with the transfer coding ${codings.join(', ').slice(0, 80)}, which was not asked for`,
    )
  }
  const lengths = valuesOf(fields, 'content-length')
  const [length] = lengths
  if (length === undefined) return 'untilClose'
  if (lengths.some((other) => other !== length) || !/^\d{1,15}$/.test(length))
    throw new ResponseError(
      `does not answer in HTTP/1.1: ${JSON.stringify([...new Set(lengths)].join(', ').slice(0, 40))} is not a length`,
    )
  return Number(length)
}

function isPersistent(is11: boolean, fields: HeaderList): boolean {
  const options = valuesOf(fields, 'connection')
  if (options.includes('close')) return false
  // With both there is no telling what a server in between made of it.
  if (hasHeader(fields, 'transfer-encoding') && (hasHeader(fields, 'content-length') || !is11)) return false
  return is11 || options.includes('keep-alive')
}

function keepAliveMs(fields: HeaderList): number | undefined {
  for (const value of valuesOf(fields, 'keep-alive')) {
    const seconds = /^timeout\s*=\s*"?(\d{1,6})"?$/.exec(value)?.[1]
    if (seconds !== undefined) return Number(seconds) * 1_000
  }
  return undefined
}

/** Without spaces and tabs around it; `trim` would take bytes above 127 too. */
function trimmed(value: string): string {
  let from = 0
  let to = value.length
  while (from < to && isBlank(value.charCodeAt(from))) from++
  while (to > from && isBlank(value.charCodeAt(to - 1))) to--
  return value.slice(from, to)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

function withoutCr(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
