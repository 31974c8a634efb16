import { invalid, isHeaderList, offset, terminalSize } from './check-answers.ts'
import { TunnelError } from './errors.ts'
import {
  type AskedHead,
  type HttpRequestHead,
  isAddedKind,
  isEnvironment,
  isTermName,
  LOOKUP,
  PRIORITIES,
  type ResumeHead,
  type ShellHead,
  STREAM_KINDS,
  type Terminal,
  type Vouched,
} from './heads.ts'
import { MAX_JSON_BYTES } from './json.ts'
import { readTraceContext, type TraceContext } from './trace-context.ts'

// What a peer asks for. Whatever is kept of a peer's JSON is made here, from the fields that are known and checked.

type Json = Record<string, unknown>

const STREAM_ID = /^[0-9a-f]{32}$/
const kinds: ReadonlySet<unknown> = new Set([...STREAM_KINDS, LOOKUP])
const priorities: ReadonlySet<unknown> = new Set(PRIORITIES)

const VOUCHED = ['subject', 'asked', 'owner', 'tier', 'through'] as const
const COMMON = [
  'id',
  'kind',
  'machine',
  'target',
  'priority',
  'traceparent',
  'tracestate',
  'attempt',
] as const
const OPEN_FIELDS: ReadonlySet<string> = new Set([...COMMON, 'window'])
const RESUME_FIELDS: ReadonlySet<string> = new Set([...COMMON, 'received', 'limit', 'end'])
const NEVER_FURTHER: ReadonlySet<string> = new Set([...VOUCHED, 'further'])
/** What a head of its kind alone has: taken apart from the rest. */
const OF_A_KIND: ReadonlySet<string> = new Set(['http', 'exec', 'shell'])
const NONE: ReadonlySet<string> = new Set()

/** The longest `target`, and any other text in a head that has no reason to be longer, in characters. */
const MAX_TEXT = 300

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_TEXT
}

function checkAddress(head: Json): void {
  if (typeof head.id !== 'string' || !STREAM_ID.test(head.id)) throw invalid('id is not 32 hex digits')
  if (!kinds.has(head.kind) && !isAddedKind(head.kind)) {
    const said = typeof head.kind === 'string' ? JSON.stringify(head.kind.slice(0, 40)) : typeof head.kind
    throw invalid(`kind ${said} is unknown`)
  }
  if (typeof head.machine !== 'string' || head.machine.length === 0 || head.machine.length > 255) {
    throw invalid('machine is not a name')
  }
  if (head.target !== undefined && !isText(head.target)) throw invalid('target is not host:port')
  if (head.priority !== undefined && !priorities.has(head.priority)) throw invalid('priority is unknown')
  if (head.attempt !== undefined) offset(head.attempt, 'attempt')
  if (head.traceparent !== undefined && !isText(head.traceparent)) throw invalid('traceparent is not text')
  if (head.tracestate !== undefined && typeof head.tracestate !== 'string')
    throw invalid('tracestate is not text')
}

/** What of it is told on. */
function checkTrace(head: Json): void {
  if (head.tracestate === undefined) return
  const { tracestate } = readTraceContext(head as TraceContext)
  if (tracestate === undefined) delete head.tracestate
  else head.tracestate = tracestate
}

/**
 * The fields of `json` that are in `known`, in their order; the others, but for those `apart`, as one text, which costs
 * no more than it is long.
 */
function pick(json: Json, known: ReadonlySet<string>, apart: ReadonlySet<string>): Json {
  const head: Json = {}
  let further: Json | undefined
  for (const name of Object.keys(json)) {
    const value = json[name]
    if (known.has(name)) head[name] = value
    else if (!NEVER_FURTHER.has(name) && !apart.has(name)) {
      // No prototype: `__proto__` is a name like any other.
      further ??= Object.create(null) as Json
      further[name] = value
    }
  }
  if (further === undefined) return head
  const text = JSON.stringify(further)
  // Read and written again, 1e20 is five times as long.
  if (text.length > MAX_JSON_BYTES)
    throw new TunnelError('FRAME_TOO_LARGE', "the stream's head is too long", { hop: 'link' })
  head.further = text
  return head
}

function requestHead(value: unknown): HttpRequestHead {
  const { method, path, headers } = (value ?? {}) as Partial<HttpRequestHead>
  if (typeof method !== 'string' || typeof path !== 'string' || !isHeaderList(headers)) {
    throw invalid('http is not {method, path, headers}')
  }
  return { method, path, headers }
}

function shellHead(value: unknown): ShellHead {
  const { terminal, env } = (value ?? {}) as { terminal?: Partial<Terminal>; env?: unknown }
  if (env !== undefined && !isEnvironment(env)) throw invalid('shell.env is not a list of variables')
  const head: ShellHead = env === undefined ? {} : { env: { ...env } }
  if (terminal === undefined) return head
  const size = terminalSize(terminal, 'shell.terminal')
  const term: unknown = terminal?.term
  if (typeof term !== 'string' || !isTermName(term)) throw invalid('shell.terminal.term is not a name')
  return { ...head, terminal: { ...size, term } }
}

/** What the opener asks for, and nothing that only a proxy can say. @throws {TunnelError} FRAME_INVALID */
export function checkStreamHead(json: Json): AskedHead {
  checkAddress(json)
  offset(json.window, 'window')
  const head = pick(json, OPEN_FIELDS, OF_A_KIND)
  checkTrace(head)
  if (json.kind === 'http') head.http = requestHead(json.http)
  if (json.kind === 'exec') {
    const { command } = (json.exec ?? {}) as { command?: unknown }
    if (typeof command !== 'string') throw invalid('exec is not {command}')
    head.exec = { command }
  }
  if (json.kind === 'shell') head.shell = shellHead(json.shell)
  return head as unknown as AskedHead
}

/** The same of a RESUME. @throws {TunnelError} FRAME_INVALID */
export function checkResumeHead(json: Json): Omit<ResumeHead, keyof Vouched> {
  checkAddress(json)
  offset(json.received, 'received')
  offset(json.limit, 'limit')
  offset(json.attempt, 'attempt')
  if (json.end !== undefined) offset(json.end, 'end')
  const head = pick(json, RESUME_FIELDS, NONE)
  checkTrace(head)
  return head as unknown as ResumeHead
}

/** What a proxy vouches for, from a link on which it may. @throws {TunnelError} FRAME_INVALID */
export function checkVouched(json: Json): Vouched {
  const vouched: Vouched = {}
  for (const name of VOUCHED) {
    const value = json[name]
    if (value === undefined) continue
    if (!isText(value)) throw invalid(`${name} is not text of ${MAX_TEXT} characters at most`)
    vouched[name] = value
  }
  return vouched
}
