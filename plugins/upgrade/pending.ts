import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** Sockets that asked for an upgrade, until it has been taken or refused. None of them stays for ever. */
export class PendingUpgrades {
  readonly #sockets = new Map<IncomingMessage, { socket: Socket; late: NodeJS.Timeout }>()
  readonly #maxMs: number

  /** @param maxMs after so long a socket that is still pending is destroyed, whatever it waits for */
  constructor(maxMs: number) {
    this.#maxMs = maxMs
  }

  get size(): number {
    return this.#sockets.size
  }

  has(request: IncomingMessage): boolean {
    return this.#sockets.has(request)
  }

  add(request: IncomingMessage, socket: Socket): void {
    // Node has taken its own listener away.
    socket.on('error', () => socket.destroy())
    const late = setTimeout(() => socket.destroy(), this.#maxMs)
    late.unref()
    this.#sockets.set(request, { socket, late })
    socket.once('close', () => this.take(request))
  }

  /** The socket is somebody else's now, or is gone. */
  take(request: IncomingMessage): Socket | undefined {
    const pending = this.#sockets.get(request)
    if (pending === undefined) return undefined
    clearTimeout(pending.late)
    this.#sockets.delete(request)
    return pending.socket
  }

  destroy(): void {
    for (const { socket } of this.#sockets.values()) socket.destroy()
  }
}
