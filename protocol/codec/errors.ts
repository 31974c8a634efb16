import { ERROR_KINDS, type ErrorCategory, type ErrorCode } from './error-kinds.ts'
import { suggestionFor } from './suggestions.ts'

export { ERROR_KINDS, type ErrorCategory, type ErrorCode } from './error-kinds.ts'

/**
 * Where on the way an error arose; shown to the user beside its code. `link` is between two parties: a connection that was
 * cut or fell silent, or what came over it and is no valid frame.
 */
export type Hop = 'client' | 'link' | 'proxy' | 'agent' | 'ssh' | 'target'

/** What of an error crosses a link: the body of RESET and GOAWAY. */
export interface WireError {
  code: string
  message: string
  hop?: string
  retryAfterMs?: number
  /** With UNKNOWN_STREAM: for how long the acceptor has been remembering streams, in ms. */
  rememberedMs?: number
  /** Of an OPEN: nothing of what was asked for has begun. */
  refused?: boolean
}

export interface TunnelErrorOptions {
  hop: Hop
  cause?: unknown
  /** When trying again may succeed, in ms from now. */
  retryAfterMs?: number
  rememberedMs?: number
  refused?: boolean
  /** A peer has said so: what went wrong is in that party's log. */
  fromPeer?: boolean
  /** What a person may try, where the code's usual advice would not help; see `TunnelError.suggestion`. */
  suggestion?: string
}

const INTERNAL_TEXT = 'something unexpected went wrong; the log of the party that says so has more'

const BRAND = Symbol.for('ssh-websocket-tunnel.error')

/** Beside the class: a bundler gives one that names itself another name, which every stack would show. */
function isInstance(value: unknown, asked: typeof TunnelError): boolean {
  if (asked !== TunnelError) return Object.prototype.isPrototypeOf.call(asked.prototype, Object(value))
  return typeof value === 'object' && value !== null && BRAND in value
}

/** The one error class of every public surface; told apart by `code`, recovered from by `category`. */
export class TunnelError extends Error {
  override readonly name = 'TunnelError'
  readonly code: ErrorCode
  readonly hop: Hop
  readonly retryAfterMs: number | undefined
  readonly rememberedMs: number | undefined
  /** Nothing of what was asked for has begun. Of what did not begin for another reason, nobody may know it. */
  readonly refused: boolean
  readonly fromPeer: boolean
  readonly #suggestion: string | undefined

  constructor(code: ErrorCode, message: string, options: TunnelErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hop = options.hop
    this.retryAfterMs = options.retryAfterMs
    this.rememberedMs = options.rememberedMs
    this.refused = options.refused === true
    this.fromPeer = options.fromPeer === true
    this.#suggestion = options.suggestion
  }

  /** True also for an error of another copy of this module: a plugin's in TypeScript, beside our compiled one. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: a subclass inherits this method, and asks about itself.
    return isInstance(value, this)
  }

  get [BRAND](): true {
    return true
  }

  get category(): ErrorCategory {
    return ERROR_KINDS[this.code].category
  }

  /**
   * The same call may succeed later, although nobody has done anything about it, and does no harm: of the categories
   * network and server all but what may have been carried out, and what its caller called off.
   */
  get retryable(): boolean {
    if (this.code === 'OUTCOME_UNKNOWN' || this.code === 'ABORTED') return false
    return this.category === 'network' || this.category === 'server'
  }

  /** What a person may try, as the rest of a sentence; empty where nothing is known to help. */
  get suggestion(): string {
    return this.#suggestion ?? suggestionFor(this.code, this.hop)
  }

  /** The HTTP status of this error; also read by Fastify. */
  get statusCode(): number {
    return ERROR_KINDS[this.code].status
  }

  /** The close code of a link that ends for this reason. */
  get closeCode(): number {
    return ERROR_KINDS[this.code].close ?? 1011
  }

  /** The text for a peer: what went wrong inside is for this party's own log. */
  get publicMessage(): string {
    return this.code === 'INTERNAL' ? INTERNAL_TEXT : this.message
  }

  toWire(): WireError {
    const wire: WireError = { code: this.code, message: this.publicMessage, hop: this.hop }
    if (this.retryAfterMs !== undefined) wire.retryAfterMs = this.retryAfterMs
    if (this.rememberedMs !== undefined) wire.rememberedMs = this.rememberedMs
    if (this.refused) wire.refused = true
    return wire
  }
}

/** Ends that are nobody's fault: a user gave the stream up, or it goes on elsewhere. */
const NO_FAULTS: ReadonlySet<ErrorCode> = new Set(['ABORTED', 'TAKEN_OVER'])

/** On the tunnel's own answers over HTTP, and on none of a service's: the code. */
export const ERROR_HEADER = 'x-tunnel-error'

/** Whether what ended with it has failed. */
export function isFault({ code }: TunnelError): boolean {
  return !NO_FAULTS.has(code)
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_KINDS, value)
}

/** The longest time that a timer can be set to, in ms; one that is set to more fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** Whether a peer's number is one of milliseconds that can be waited for. */
export function isDuration(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= MAX_TIMER_MS
}

const HOPS: ReadonlySet<unknown> = new Set<Hop>(['client', 'link', 'proxy', 'agent', 'ssh', 'target'])

/** The longest text of a peer's error that is kept, in characters. */
const MAX_MESSAGE = 1_024

/** Cuts a text that is too long. The result is a copy, because a slice may keep the whole text in memory. */
function cut(text: string): string {
  if (text.length <= MAX_MESSAGE) return text
  return new TextDecoder().decode(new TextEncoder().encode(text.slice(0, MAX_MESSAGE)))
}

/** Reads a peer's error. A code this version does not know becomes INTERNAL and keeps its text; so it is with the hop, `link`. */
export function errorFromWire(value: unknown): TunnelError {
  const wire = (typeof value === 'object' && value !== null ? value : {}) as Partial<WireError>
  const message = typeof wire.message === 'string' ? cut(wire.message) : 'the peer gave no reason'
  const hop = HOPS.has(wire.hop) ? (wire.hop as Hop) : 'link'
  const options: TunnelErrorOptions = { hop, fromPeer: true, refused: wire.refused === true }
  if (isDuration(wire.retryAfterMs)) options.retryAfterMs = wire.retryAfterMs
  if (isDuration(wire.rememberedMs)) options.rememberedMs = wire.rememberedMs
  return isErrorCode(wire.code)
    ? new TunnelError(wire.code, message, options)
    : new TunnelError(
        'INTERNAL',
        `${typeof wire.code === 'string' ? cut(wire.code) : 'no code'}: ${message}`,
        options,
      )
}

/** Any thrown value as a TunnelError; one that is none yet becomes `code` at `hop`, with the value as its cause. */
export function asTunnelError(error: unknown, hop: Hop, code: ErrorCode = 'INTERNAL'): TunnelError {
  if (error instanceof TunnelError) return error
  return new TunnelError(code, error instanceof Error ? error.message : String(error), { hop, cause: error })
}

const CODE_OF_CLOSE: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [1008, 'FORBIDDEN'],
  [1009, 'FRAME_TOO_LARGE'],
  [1012, 'SHUTTING_DOWN'],
  [4400, 'FRAME_INVALID'],
  [4401, 'TOKEN_INVALID'],
  [4403, 'FORBIDDEN'],
  [4406, 'VERSION_UNSUPPORTED'],
  [4408, 'TIMEOUT'],
  [4409, 'TAKEN_OVER'],
  [4429, 'RATE_LIMITED'],
])

/**
 * Why a link ended, from its close code and reason. Our reasons begin with the exact code ("TOKEN_EXPIRED: …");
 * anything else is told by the close code, and what no code tells is LINK_LOST.
 */
export function errorFromClose(closeCode: number, reason: string): TunnelError {
  const named = reason.split(':', 1)[0]
  if (isErrorCode(named))
    return new TunnelError(named, reason.slice(named.length + 1).trim() || named, { hop: 'link' })
  const code = CODE_OF_CLOSE.get(closeCode) ?? 'LINK_LOST'
  const text = `the link closed (${closeCode}${reason === '' ? '' : `, ${reason}`})`
  return new TunnelError(code, text, { hop: 'link' })
}
