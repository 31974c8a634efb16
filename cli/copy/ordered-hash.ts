import { createHash } from 'node:crypto'

/** SHA-256 of bytes that come in any order, each once. */
export class OrderedHash {
  readonly #hash = createHash('sha256')
  /** Those that came before their turn; as many as the caller reads ahead. */
  readonly #early = new Map<number, Buffer>()
  #at: number

  /** @param from where the first byte belongs */
  constructor(from = 0) {
    this.#at = from
  }

  add(offset: number, bytes: Buffer): void {
    this.#early.set(offset, bytes)
    for (let next = this.#early.get(this.#at); next !== undefined; next = this.#early.get(this.#at)) {
      this.#early.delete(this.#at)
      this.#hash.update(next)
      this.#at += next.length
    }
  }

  /** In hexadecimal; nothing can be added any more. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
