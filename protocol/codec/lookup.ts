import { TunnelError } from './errors.ts'

/** The longest answer to a lookup that is read, in bytes. */
export const MAX_ANSWER_BYTES = 4_096
/** The most addresses that an answer has. */
export const MAX_ADDRESSES = 16
const MAX_ADDRESS = 45

/** The bytes that answer a lookup: all of its stream. */
export function encodeAddresses(addresses: readonly string[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ addresses }))
}

/** Texts that may be addresses. @throws {TunnelError} FRAME_INVALID */
export function decodeAddresses(bytes: Uint8Array): string[] {
  const { addresses } = readObject(bytes) as { addresses?: unknown }
  const isValid =
    Array.isArray(addresses) &&
    addresses.length > 0 &&
    addresses.length <= MAX_ADDRESSES &&
    addresses.every((each) => typeof each === 'string' && each.length <= MAX_ADDRESS)
  if (!isValid) throw answerInvalid()
  return addresses as string[]
}

function readObject(bytes: Uint8Array): object {
  try {
    return Object(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)))
  } catch {
    throw answerInvalid()
  }
}

export function answerInvalid(): TunnelError {
  return new TunnelError('FRAME_INVALID', 'what answers a lookup is no list of addresses', { hop: 'agent' })
}
