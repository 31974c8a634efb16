import { TunnelError } from './errors.ts'

/** The longest JSON body that is read, of any frame that has one. */
export const MAX_JSON_BYTES = 65_536
/** How deep objects and lists in it may stand inside each other; our own stand 4 deep. */
export const MAX_JSON_DEPTH = 32
/** Values in it, at most: names, texts, numbers, lists. 1,000 headers are 3,000. */
export const MAX_JSON_VALUES = 8_192

const decoder = new TextDecoder('utf-8', { fatal: true })

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_LIST = 0x5b
const OPEN_OBJECT = 0x7b
const CLOSE_LIST = 0x5d
const CLOSE_OBJECT = 0x7d

/**
 * A peer's JSON object, no larger in memory than a few times its text, and no deeper than what can be walked.
 * @throws {TunnelError} FRAME_INVALID
 */
export function parseObject(bytes: Uint8Array): Record<string, unknown> {
  const excess = excessOf(bytes)
  if (excess !== undefined) throw new TunnelError('FRAME_INVALID', excess, { hop: 'link' })
  let value: unknown
  try {
    value = JSON.parse(decoder.decode(bytes))
  } catch (error) {
    throw new TunnelError('FRAME_INVALID', 'a body is not JSON in UTF-8', { hop: 'link', cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TunnelError('FRAME_INVALID', 'a JSON body is not an object', { hop: 'link' })
  }
  return value as Record<string, unknown>
}

/**
 * What a JSON body has too much of to be read; undefined for what is within all bounds. It looks at the punctuation
 * alone, before anything is made of it: what is not JSON at all is for the parser to say.
 */
export function excessOf(bytes: Uint8Array): string | undefined {
  if (bytes.length > MAX_JSON_BYTES) return `a JSON body of ${bytes.length} bytes is over ${MAX_JSON_BYTES}`
  let depth = 0
  let values = 1
  let inText = false
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]!
    if (inText) {
      if (byte === BACKSLASH) index++
      else if (byte === QUOTE) inText = false
    } else if (byte === QUOTE) inText = true
    else if (byte === COMMA || byte === COLON) values++
    else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
      values++
      if (++depth > MAX_JSON_DEPTH) return `a JSON body is deeper than ${MAX_JSON_DEPTH}`
    } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) depth--
  }
  return values > MAX_JSON_VALUES ? `a JSON body is of more than ${MAX_JSON_VALUES} values` : undefined
}
