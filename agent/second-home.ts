import type { Connection } from '../dial/connection.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import { NOT_HEADER } from '../protocol/codec/hello.ts'
import type { Dial } from '../protocol/link/transport.ts'

/** Dials through a load balancer in a row that may come to the proxy of the first link, and when it is tried again, in ms. */
const TRIES = 8
const TRY_MS = 250
const REST_MS = 30_000

/** Says at which proxies the agent is at home, so that another takes the link. */
export function dialElsewhere(dial: Dial, homes: () => readonly string[]): Dial {
  const elsewhere: Dial = (url, options) => {
    const not = homes().join(',')
    return dial(
      url,
      not === '' ? options : { ...options, headers: { ...options.headers, [NOT_HEADER]: not } },
    )
  }
  return Object.assign(elsewhere, dial.silent !== undefined && { silent: dial.silent })
}

export interface SecondHomeOptions {
  /** What is dialled; not connected yet. */
  connection: Connection
  /** Another program has the name. */
  takenOver(error: TunnelError): void
}

/**
 * A link to a second replica at the same address, so that no stream waits when the first one goes. Where the proxy is alone
 * for a while, or the address always leads to the same one, it is asked for again by and by, and nothing is said.
 */
export class SecondHome {
  readonly #connection: Connection
  readonly #takenOver: (error: TunnelError) => void
  #timer: NodeJS.Timeout | undefined
  #tries = 0
  #isWanted = false

  constructor({ connection, takenOver }: SecondHomeOptions) {
    this.#connection = connection
    this.#takenOver = takenOver
    connection.on('link', () => {
      this.#tries = 0
    })
    connection.on('failed', (error) => this.#again(error))
  }

  /** From now on there is to be one. Does nothing where that was said before. */
  want(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    this.#dial()
  }

  #dial(): void {
    this.#connection.connect().catch((error: TunnelError) => this.#again(error))
  }

  #again(error: TunnelError): void {
    if (!this.#isWanted) return
    if (error.code === 'TAKEN_OVER') return this.#takenOver(error)
    clearTimeout(this.#timer)
    const delayMs = ++this.#tries < TRIES ? TRY_MS : REST_MS
    this.#timer = setTimeout(() => this.#dial(), delayMs).unref()
  }

  async close(): Promise<void> {
    this.#isWanted = false
    clearTimeout(this.#timer)
    await this.#connection.close()
  }
}
