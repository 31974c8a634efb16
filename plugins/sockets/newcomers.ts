import type { Socket } from 'node:net'
import { networkOf } from '../../protocol/node/network-of.ts'

/**
 * Connections whose user is not known yet, counted by address. One that has become a link is no longer counted: the
 * limits of its user hold for it.
 */
export class Newcomers {
  readonly #max: number
  readonly #perAddress = new Map<string, number>()
  /** The address of each connection, by what tells it from every other. */
  readonly #addresses = new Map<string, string>()

  /** @param max at once for one address */
  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#addresses.size
  }

  /** False when its address has enough of them already. `max`: where it may have fewer than others. */
  enter(socket: Socket, max = this.#max): boolean {
    const { remoteAddress } = socket
    // Gone already, or not of a network.
    if (remoteAddress === undefined) return true
    const address = networkOf(remoteAddress)
    const count = this.#perAddress.get(address) ?? 0
    if (count >= Math.min(max, this.#max)) return false
    const id = idOf(socket)
    this.#perAddress.set(address, count + 1)
    this.#addresses.set(id, address)
    // A closed socket has forgotten its address.
    socket.once('close', () => this.#leave(id))
    return true
  }

  /** @param socket may be the TLS socket over the one that came in */
  letIn(socket: Socket): void {
    if (socket.remoteAddress !== undefined) this.#leave(idOf(socket))
  }

  #leave(id: string): void {
    const address = this.#addresses.get(id)
    if (address === undefined) return
    this.#addresses.delete(id)
    const count = (this.#perAddress.get(address) ?? 1) - 1
    if (count === 0) this.#perAddress.delete(address)
    else this.#perAddress.set(address, count)
  }
}

function idOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
