import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import type { NameCheck } from '../../ssh/index.ts'
import type { HttpConnection } from './connection.ts'
import type { HttpOrigin, Waiting } from './origin.ts'

/** Whose turn it is. */
interface TurnOwner {
  readonly priority: Priority
  /** What is asked before anything is sent over `connection`, once; undefined where nothing is to be waited for. */
  opening(connection: HttpConnection): Promise<void> | undefined
  /** The connection is there for it. */
  send(connection: HttpConnection): void
  /** No connection comes. */
  fail(error: TunnelError): void
}

/** A request's turn on a connection of its origin: waited for, had, and given back. */
export class Turn implements Waiting {
  readonly names: NameCheck
  readonly #owner: TurnOwner
  readonly #origin: HttpOrigin
  #needsFresh = false
  #hooksRan = false
  #connection: HttpConnection | undefined

  constructor(owner: TurnOwner, origin: HttpOrigin, names: NameCheck) {
    this.names = names
    this.#owner = owner
    this.#origin = origin
  }

  get priority(): Priority {
    return this.#owner.priority
  }
  get needsFresh(): boolean {
    return this.#needsFresh
  }
  /** The one that it has. */
  get connection(): HttpConnection | undefined {
    return this.#connection
  }

  /** Waits for one, where it has none. */
  await(): void {
    if (this.#connection === undefined) this.#origin.add(this)
  }

  /** Leaves its place to others, where it still waits. */
  leave(): void {
    if (this.#connection === undefined) this.#origin.remove(this)
  }

  start(connection: HttpConnection): void {
    this.#connection = connection
    const opening = this.#hooksRan ? undefined : this.#owner.opening(connection)
    this.#hooksRan = true
    const send = () => connection.whenSettled(() => this.#owner.send(connection))
    if (opening === undefined) return send()
    opening.then(send, (error: TunnelError) => {
      this.fail(error)
      this.free()
    })
  }

  fail(error: TunnelError): void {
    this.#owner.fail(error)
  }

  /** From now on only a connection that has carried nothing yet will do. */
  wantFresh(): void {
    this.#needsFresh = true
  }

  /** Gives the connection back. */
  free(): void {
    const connection = this.#connection
    if (connection === undefined) return
    this.#connection = undefined
    this.#origin.free(connection)
  }
}
