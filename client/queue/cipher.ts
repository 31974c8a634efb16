/** WebCrypto's, where the types of Node have no global of that name. */
export type SecretKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>

const IV_BYTES = 12
/** RFC 5116, section 5.1: AES with a key of 256 bits. */
const KEY_BYTES = 32

/** Encrypts what is kept, with a key of the caller's: AES-256-GCM, a random nonce before each ciphertext. */
export class Cipher {
  readonly #key: SecretKey

  private constructor(key: SecretKey) {
    this.#key = key
  }

  /** @param key 32 bytes, or a key for AES-GCM. @throws {RangeError} for anything else */
  static async of(key: Uint8Array | SecretKey): Promise<Cipher> {
    if (!(key instanceof Uint8Array)) {
      if (key?.algorithm?.name === 'AES-GCM') return new Cipher(key)
      throw new RangeError('is neither 32 bytes nor a key for AES-GCM')
    }
    if (key.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes, not ${key.length}`)
    const raw = key.slice()
    return new Cipher(await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']))
  }

  /** @param place where it is kept: at another place it cannot be read */
  async seal(place: string, bytes: Uint8Array): Promise<Uint8Array> {
    const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES))
    const sealed = await crypto.subtle.encrypt(parameters(iv, place), this.#key, bytes.slice())
    const result = new Uint8Array(IV_BYTES + sealed.byteLength)
    result.set(iv)
    result.set(new Uint8Array(sealed), IV_BYTES)
    return result
  }

  /** @throws {Error} it was sealed with another key or for another place, or was changed */
  async open(place: string, sealed: Uint8Array): Promise<Uint8Array> {
    const iv = sealed.slice(0, IV_BYTES)
    try {
      const bytes = sealed.slice(IV_BYTES)
      return new Uint8Array(await crypto.subtle.decrypt(parameters(iv, place), this.#key, bytes))
    } catch (cause) {
      throw new Error('it cannot be decrypted with this key', { cause })
    }
  }
}

type Gcm = { name: 'AES-GCM'; iv: Uint8Array<ArrayBuffer>; additionalData: Uint8Array<ArrayBuffer> }

function parameters(iv: Uint8Array<ArrayBuffer>, place: string): Gcm {
  return { name: 'AES-GCM', iv, additionalData: new TextEncoder().encode(place) }
}
