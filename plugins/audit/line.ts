import { hash as digest } from 'node:crypto'

/** What is recorded of one event. Never a token, a key or payload. */
export interface AuditEvent {
  /** `area.what`, such as `resume.refused`. */
  event: string
  userId?: string
  machine?: string
  correlationId?: string
  details?: Record<string, string | number | boolean>
}

export interface AuditLine extends AuditEvent {
  /** ISO 8601, UTC. */
  timestamp: string
  /** One process' part of the trail: two proxies may write to it while one takes over from the other. */
  chain: string
  /** From 0, without gaps. */
  sequence: number
  /** The hash of the line before in this chain; of the first line: of the whole last line that was there at the start. */
  previous: string
  /** SHA-256 of the line without this field, in hex. */
  hash: string
}

/** Of the first line that there ever was. */
export const NOTHING_BEFORE = '0'.repeat(64)

export function sha256(text: string | Buffer): string {
  return digest('sha256', text)
}

const HASH_FIELD = /^,"hash":"([0-9a-f]{64})"\}$/
const HASH_FIELD_CHARS = ',"hash":""}'.length + 64

/** The text of a line, with its hash at the end. */
export function sealed(
  timestamp: string,
  { chain, sequence, previous }: Pick<AuditLine, 'chain' | 'sequence' | 'previous'>,
  event: AuditEvent,
): { text: string; hash: string } {
  // Serialised once, as the hash is of the line without it; and not put together as an object, which costs as much again.
  const inside = JSON.stringify(event).slice(1, -1)
  const json = `{"timestamp":"${timestamp}","chain":"${chain}","sequence":${sequence},${inside},"previous":"${previous}"}`
  const hash = sha256(json)
  return { text: `${json.slice(0, -1)},"hash":"${hash}"}`, hash }
}

/** A line as it was written, and whether its hash is right; undefined for what no trail has written. */
export function opened(text: string): { line: AuditLine; isWhole: boolean } | undefined {
  const [, hash] = HASH_FIELD.exec(text.slice(-HASH_FIELD_CHARS)) ?? []
  let line: Partial<AuditLine> | null
  try {
    line = JSON.parse(text) as Partial<AuditLine> | null
  } catch {
    return undefined
  }
  const { chain, sequence, previous } = line ?? {}
  if (typeof chain !== 'string' || typeof previous !== 'string' || !Number.isSafeInteger(sequence))
    return undefined
  const isWhole = hash !== undefined && sha256(`${text.slice(0, -HASH_FIELD_CHARS)}}`) === hash
  return { line: line as AuditLine, isWhole }
}
