import { Cipher, type SecretKey } from './cipher.ts'
import { configInvalid } from './errors.ts'
import { decodeRecord, encodeRecord, type StoredRequest } from './record.ts'

/** In place of the name in a store: a request that is handed over has none yet. */
const PLACE = 'handed over'

/** @throws {TunnelError} CONFIG_INVALID for a key of another length */
export async function cipherOf(key: Uint8Array | SecretKey | undefined): Promise<Cipher | undefined> {
  if (key === undefined) return undefined
  try {
    return await Cipher.of(key)
  } catch (error) {
    throw configInvalid(`queue.encryptionKey: ${(error as Error).message}`)
  }
}

/** A request as one program leaves it for another. */
export async function toHandOver(request: StoredRequest, cipher: Cipher | undefined): Promise<Uint8Array> {
  const record = encodeRecord(request)
  return cipher === undefined ? record : cipher.seal(PLACE, record)
}

/** @throws {Error} what is wrong with it */
export async function handedOver(value: Uint8Array, cipher: Cipher | undefined): Promise<StoredRequest> {
  return decodeRecord(cipher === undefined ? value : await cipher.open(PLACE, value))
}
