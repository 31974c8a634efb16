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
