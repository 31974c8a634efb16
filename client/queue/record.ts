import type { HeaderList, Priority } from '../../protocol/codec/heads.ts'

/** A request as it is kept: plain data, without what must not be on a disk. */
export interface StoredRequest {
  /** The same over restarts. */
  id: string
  machine: string
  target: string
  method: string
  path: string
  headers: HeaderList
  /** Names of headers that it was accepted with and that are not on disk. */
  withheld: string[]
  body: Uint8Array | undefined
  priority: Priority
  idempotent: boolean
  timeoutMs: number
  maxBodyBytes: number
  /** Milliseconds of `Date.now()`. */
  acceptedAtMs: number
  expiresAtMs: number | undefined
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })
/** What a record begins with: "TQ", then the version of its form. */
const MAGIC = 0x5451
const VERSION = 1
/** Magic, version, checksum, length of the head. */
const HEADER_BYTES = 12
/** What the checksum is of, to the end. */
const CHECKED_FROM = 8

/** A record is made here and copied out, so that each costs one allocation; larger ones are made by themselves. */
const workbench = new Uint8Array(16_384)
/** A character of UTF-16 is three bytes of UTF-8 at most. */
const BYTES_OF_CHAR = 3

type Head = Omit<StoredRequest, 'body'> & { hasBody: boolean }

/** A copy of all with no body in it takes half as long as one that leaves the body out; JSON has no place for undefined. */
function headOf(request: StoredRequest): Head & { body: undefined } {
  return { ...request, body: undefined, hasBody: request.body !== undefined }
}

/** `TQ`, version u16, CRC-32 of the rest u32, length of the head u32, the head as JSON, the body. */
export function encodeRecord(request: StoredRequest): Uint8Array {
  const { body } = request
  const json = JSON.stringify(headOf(request))
  const bodyBytes = body?.length ?? 0
  const mostBytes = HEADER_BYTES + BYTES_OF_CHAR * json.length + bodyBytes
  const bytes = mostBytes <= workbench.length ? workbench : new Uint8Array(mostBytes)
  const view = new DataView(bytes.buffer)
  const { written } = encoder.encodeInto(json, bytes.subarray(HEADER_BYTES))
  const bodyAt = HEADER_BYTES + written
  const end = bodyAt + bodyBytes
  if (body !== undefined) bytes.set(body, bodyAt)
  view.setUint16(0, MAGIC)
  view.setUint16(2, VERSION)
  view.setUint32(8, written)
  view.setUint32(4, crc32(bytes, CHECKED_FROM, end))
  return bytes.slice(0, end)
}

/** @throws {Error} what is wrong with it */
export function decodeRecord(record: Uint8Array): StoredRequest {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength)
  if (record.length < HEADER_BYTES || view.getUint16(0) !== MAGIC) throw new Error('it is not a request')
  if (view.getUint16(2) !== VERSION) throw new Error(`its form ${view.getUint16(2)} is not known`)
  if (view.getUint32(4) !== crc32(record, CHECKED_FROM, record.length))
    throw new Error('its checksum is wrong')
  const bodyAt = HEADER_BYTES + view.getUint32(8)
  const json = decoder.decode(record.subarray(HEADER_BYTES, bodyAt))
  const { hasBody, ...head } = JSON.parse(json) as Head
  return { ...head, expiresAtMs: head.expiresAtMs, body: hasBody ? record.slice(bodyAt) : undefined }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})

function crc32(bytes: Uint8Array, from: number, end: number): number {
  let crc = -1
  for (let at = from; at < end; at++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ bytes[at]!) & 0xff]!
  return ~crc >>> 0
}
