import type { Socket } from 'node:net'
import { networkOf } from '../../protocol/node/network-of.ts'

/**
 * Connections whose user is not known, counted by address. One that has become a link is no longer counted, nor one on
 * which a known user's request is answered: the limits of that user hold for it. Between its requests it is a stranger's.
 */
export class Newcomers {
  readonly #max: number
  readonly #perAddress = new Map<string, number>()
  /** The address of each connection, by what tells it from every other. */
  readonly #addresses = new Map<string, string>()
  /** Those whose end is heard of. */
  readonly #followed = new WeakSet<Socket>()

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
    if ((this.#perAddress.get(address) ?? 0) >= Math.min(max, this.#max)) return false
    this.#count(socket, address)
    return true
  }

  #count(socket: Socket, address: string): void {
    const id = idOf(socket)
    if (this.#addresses.has(id)) return
    this.#addresses.set(id, address)
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1)
    if (this.#followed.has(socket)) return
    this.#followed.add(socket)
    // A closed socket has forgotten its address.
    socket.once('close', () => this.#leave(id))
  }

  /** @param socket may be the TLS socket over the one that came in */
  letIn(socket: Socket): void {
    if (socket.remoteAddress !== undefined) this.#leave(idOf(socket))
  }

  /** What it was let in for is over. It stays, however many others of its address there are by now. */
  backOut(socket: Socket): void {
    const { remoteAddress, remotePort, destroyed } = socket
    if (remoteAddress === undefined || remotePort === undefined || destroyed) return
    this.#count(socket, networkOf(remoteAddress))
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
