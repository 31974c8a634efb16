import type { AskedHead, HeaderList } from './heads.ts'

/** Whose work it is, in the words of whoever asks (W3C Trace Context). */
export interface TraceContext {
  /** Section 3.2. */
  traceparent?: string
  /** Section 3.3: what those who trace know of it, each in a form of its own. Nothing without a valid `traceparent`. */
  tracestate?: string
}

/** The same as somebody gives it. */
export type GivenTrace = { readonly [Name in keyof TraceContext]: TraceContext[Name] | undefined }

/** Whose work a piece of work belongs to (W3C Trace Context, section 3.2). */
export interface TraceParent {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits: the span that asks. */
  readonly spanId: string
  /** Whoever asks keeps the trace. */
  readonly isSampled: boolean
}

/** Of a later version, what this one has is read, and what follows is not (section 4.3). */
const FORM =
  /^(?:00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})|(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?)$/
const SAMPLED = 1
const ZEROS = /^0+$/

/** Undefined for what is no valid `traceparent`, which counts as none. */
export function readTraceparent(text: string | undefined): TraceParent | undefined {
  const found = text === undefined ? null : FORM.exec(text)
  if (found === null) return undefined
  const [, traceId = found[4], spanId = found[5], flags = found[6]] = found as unknown as string[]
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & SAMPLED) !== 0 }
}

export function writeTraceparent({ traceId, spanId, isSampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${isSampled ? '01' : '00'}`
}

/** Section 3.3.1.3.1: the digit at the beginning and "@" anywhere are of the second edition. */
const KEY = /^[a-z0-9][a-z0-9_\-*/@]{0,255}$/
/** Section 3.3.1.3.2. */
const VALUE = /^[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/
const MAX_MEMBERS = 32
/** What is carried on at least (section 3.3.1.5), and here at most, in characters. */
const MAX_STATE = 512
/** An entry that is longer goes first where there is no room for all. */
const LONG_ENTRY = 128
/** Whatever is longer is not looked at: 32 entries of the longest that there may be. */
const MAX_READ = 32 * 514

/**
 * A `tracestate` as it is told on: whole, unless it is longer than 512 characters; then the entries of more than 128 characters
 * go, and after them the last ones (section 3.3.1.5). Undefined for one that is not valid or says nothing.
 */
export function readTracestate(text: string): string | undefined {
  if (text.length > MAX_READ) return undefined
  const members = text
    .split(',')
    .map((member) => member.replace(/^[\t ]+|[\t ]+$/g, ''))
    .filter((member) => member !== '')
  if (members.length === 0 || members.length > MAX_MEMBERS || !members.every(isMember)) return undefined
  let length = members.reduce((sum, member) => sum + member.length + 1, -1)
  const leave = (at: number): void => {
    length -= (members[at] as string).length + 1
    members.splice(at, 1)
  }
  for (let at = members.length - 1; at >= 0 && length > MAX_STATE; at--)
    if ((members[at] as string).length > LONG_ENTRY) leave(at)
  while (length > MAX_STATE) leave(members.length - 1)
  return members.length === 0 ? undefined : members.join(',')
}

function isMember(member: string): boolean {
  const at = member.indexOf('=')
  return at > 0 && KEY.test(member.slice(0, at)) && VALUE.test(member.slice(at + 1))
}

/** What of a caller's word is told on: no `tracestate` without a valid `traceparent` (section 3.3). */
export function readTraceContext({ traceparent, tracestate }: GivenTrace): TraceContext {
  if (traceparent === undefined) return {}
  const state =
    tracestate === undefined || readTraceparent(traceparent) === undefined
      ? undefined
      : readTracestate(tracestate)
  return state === undefined ? { traceparent } : { traceparent, tracestate: state }
}

/** What the opener of a stream says of it: in the stream's head, or in that of the request that it is. */
export function traceContextOf(head: Pick<AskedHead, 'traceparent' | 'tracestate' | 'http'>): TraceContext {
  if (head.traceparent !== undefined || head.http === undefined) return readTraceContext(head)
  const { headers } = head.http
  return readTraceContext({
    traceparent: fieldOf(headers, 'traceparent'),
    tracestate: fieldOf(headers, 'tracestate'),
  })
}

/** Several fields of a name are one list; two `traceparent` are so none that is valid. */
function fieldOf(headers: HeaderList, name: string): string | undefined {
  let found: string | undefined
  for (const [given, value] of headers)
    if (given.length === name.length && given.toLowerCase() === name)
      found = found === undefined ? value : `${found},${value}`
  return found
}
