export const STREAM_KINDS = ['ssh', 'tcp', 'http', 'exec', 'shell', 'sftp'] as const
/** What a proxy asks an agent in a user's name: which addresses a name stands for there. No client opens one. */
export const LOOKUP = 'lookup'
/** A kind that a plugin of the proxy adds. */
export type AddedKind = `x-${string}`
/** `ssh` is sealed, and a lookup ends at the agent too; the others are inspected: they end at the proxy. */
export type StreamKind = (typeof STREAM_KINDS)[number] | typeof LOOKUP | AddedKind

const ADDED_KIND = /^x-[a-z][a-z0-9-]{0,29}$/

/** Whether a plugin may give a kind this name: `x-`, a letter, then up to 29 lower-case letters, digits and `-`. */
export function isAddedKind(kind: unknown): kind is AddedKind {
  return typeof kind === 'string' && ADDED_KIND.test(kind)
}

/** Whether proxies relay it, so that the stream ends at the machine. */
export function isSealed(kind: StreamKind): boolean {
  return kind === 'ssh' || kind === LOOKUP
}

export const PRIORITIES = ['high', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

export type HeaderList = [name: string, value: string][]

export interface HttpRequestHead {
  method: string
  /** Path and query, as in the request line (RFC 9112, section 3.2.1). */
  path: string
  headers: HeaderList
}

export interface HttpResponseHead {
  status: number
  statusText: string
  headers: HeaderList
}

/** The size of a terminal, in characters: 1 to 65,535 each. */
export interface TerminalSize {
  columns: number
  rows: number
}

const MAX_TERMINAL_LENGTH = 65_535

/** Whether a terminal can have so many columns, or rows. */
export function isTerminalLength(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MAX_TERMINAL_LENGTH
}

const TERM_NAME = /^[\x21-\x7e]{1,64}$/

/** Whether a terminal's type can be told to the far side. */
export function isTermName(term: string): boolean {
  return TERM_NAME.test(term)
}

/** A terminal that a shell is to run on. */
export interface Terminal extends TerminalSize {
  /** The value of TERM there: 1 to 64 visible ASCII characters (`isTermName`). */
  term: string
}

/** Of a shell: POSIX's names of variables, and values without NUL. */
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/
const MAX_VARIABLES = 64
const MAX_VALUE = 4_096

/** Whether these variables can be told to the far side: 64 at most, each of 4,096 characters at most. */
export function isEnvironment(value: unknown): value is Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const variables: [string, unknown][] = Object.entries(value)
  return (
    variables.length <= MAX_VARIABLES &&
    variables.every(
      ([name, text]) =>
        VARIABLE.test(name) && typeof text === 'string' && text.length <= MAX_VALUE && !text.includes('\0'),
    )
  )
}

/** How a shell is to run. */
export interface ShellHead {
  /** Absent: on plain pipes. */
  terminal?: Terminal
  /** Variables for it (RFC 4254, section 6.4), of which sshd takes those that its AcceptEnv names (`isEnvironment`). */
  env?: Record<string, string>
}

/**
 * What an opener may say of the stream that it wants: the JSON of OPEN. Nothing in it is to be believed about who
 * the opener is.
 */
export interface AskedHead {
  /** 128 random bits as 32 hex digits: the stream's name for as long as it lives, on every link. */
  id: string
  kind: StreamKind
  machine: string
  /** `host:port` on the machine's side. Absent for kind `ssh`: the machine's own SSH server. Of a lookup: the name alone. */
  target?: string
  /** @default 'normal' */
  priority?: Priority
  /** W3C Trace Context, section 3.2. */
  traceparent?: string
  /** Section 3.3 there: `readTracestate`. */
  tracestate?: string
  /** The opener's receive window in bytes: how far the acceptor may send before the first WINDOW. */
  window: number
  /** Counts the opener's OPEN and RESUME frames of this stream; the highest is the one that holds. @default 0 */
  attempt?: number
  /** Kind `http`. */
  http?: HttpRequestHead
  /** Kind `exec`: one command line for the user's shell, as `ssh` sends it (RFC 4254, section 6.5). */
  exec?: { command: string }
  /** Kind `shell`: the user's login shell. */
  shell?: ShellHead
  /**
   * The fields that this version does not know, as JSON: whoever the stream is passed on to may know them. Of a kind that
   * a plugin has added, its parameters are among them.
   */
  further?: string
}

/** What a proxy vouches for when it passes a stream on. A user's own link cannot say it (`LinkTrust`). */
export interface Vouched {
  /** The authenticated user. */
  subject?: string
  /** The target that the opener named, '' for none, where a proxy passes on another: a resume names this one. */
  asked?: string
  /** Whose the machine is, where that is not the subject. */
  owner?: string
  /** The subject's tier: from one replica to another alone. */
  tier?: string
  /** The replica from which the one that hands the stream over has it: between replicas alone. */
  through?: string
}

/** An OPEN as it is passed on and acted on: what was asked, and what a proxy vouches for. */
export interface RoutedHead extends AskedHead, Vouched {}

/** A head as the JSON that it is on the wire. */
export function headText(head: RoutedHead | ResumeHead): string {
  if (head.further === undefined) return JSON.stringify(head)
  const { further, ...known } = head
  const text = JSON.stringify(known)
  return further === '{}' ? text : `${text.slice(0, -1)},${further.slice(1)}`
}

/**
 * Who is at the other end of a link: a `user`, whose word about who is asking counts for nothing, or a `replica` of
 * the proxy (or, for an agent, its proxy), which has authenticated the user and says so.
 */
export type LinkTrust = 'user' | 'replica'

/** The JSON of ACCEPT. */
export interface AcceptHead {
  /** The acceptor's receive window in bytes. */
  window: number
  /** How long the acceptor keeps the stream without a link, in ms. */
  resumeMs?: number
  /** Kind `http`, where the response head is known when the stream is accepted. */
  http?: HttpResponseHead
}

/** The JSON of RESUME. `kind` and `machine` let a proxy that has never seen the stream route it. */
export interface ResumeHead extends Vouched {
  id: string
  kind: StreamKind
  machine: string
  target?: string
  priority?: Priority
  received: number
  limit: number
  attempt: number
  /** W3C Trace Context, section 3.2. */
  traceparent?: string
  tracestate?: string
  /** The final offset of the opener's direction, once its END has been sent: so a relay knows when all is over. */
  end?: number
  further?: string
}

/** What RESUME says of a stream with this head, beside where it stands. */
export function resumeHeadOf(
  head: RoutedHead,
  stands: Pick<ResumeHead, 'received' | 'limit' | 'attempt'> & { end: number | undefined },
): ResumeHead {
  const { id, kind, machine, target, asked, priority, traceparent, tracestate } = head
  const { subject, owner, tier } = head
  const { received, limit, attempt, end } = stands
  const resume: ResumeHead = { id, kind, machine, received, limit, attempt }
  if (end !== undefined) resume.end = end
  if (target !== undefined) resume.target = target
  if (asked !== undefined) resume.asked = asked
  if (priority !== undefined) resume.priority = priority
  if (traceparent !== undefined) resume.traceparent = traceparent
  if (tracestate !== undefined) resume.tracestate = tracestate
  // Of a stream that a proxy has opened itself: the acceptor holds it to that.
  if (subject !== undefined) resume.subject = subject
  if (owner !== undefined) resume.owner = owner
  if (tier !== undefined) resume.tier = tier
  return resume
}

/** The JSON of RESUMED: the acceptor's side of the same. */
export interface ResumedHead {
  received: number
  limit: number
  end?: number
}

/** In order with the data. */
export type StreamEvent =
  | { exit: { code: number } | { signal: string } }
  | { http: HttpResponseHead }
  | { signal: string }
  | { resize: TerminalSize }

/** What a host name may be (RFC 1123, section 2.1). */
const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/

/**
 * Whether a machine can have this name: one that both `ssh NAME` and `http://NAME:PORT/` can say. A URL takes a name whose
 * last part is a number (`web.1`, `42`) for an IPv4 address.
 */
export function isMachineName(name: string): boolean {
  if (!HOST_NAME.test(name) || hostOf(name) !== name) return false
  // Node 24 looks at Punycode (RFC 3492) only beside something that is not ASCII.
  return !name.includes('xn--') || hostOf(`ü.${name}`) === `xn--tda.${name}`
}

function hostOf(name: string): string | undefined {
  const url = `http://${name}`
  return URL.canParse(url) ? new URL(url).hostname : undefined
}

/** A machine as a user names it: `home`, or `alice/home` for one that alice shares. Neither part has a slash in it. */
export function readMachine(text: string): { owner?: string; name: string } {
  const slash = text.lastIndexOf('/')
  return slash < 0 ? { name: text } : { owner: text.slice(0, slash), name: text.slice(slash + 1) }
}

/** What `isMachineName` asks for, as the end of a sentence about a name that is refused. */
export const MACHINE_NAME_RULE =
  'a name has 1 to 63 lower-case letters, digits, "-" and ".", and its last part is not a number'
