import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** A socket that asked for an upgrade. */
export interface Upgrade {
  readonly socket: Socket
  /** What has come behind the request. */
  readonly head: Buffer
  /** It speaks another protocol from here on, and is the taker's to end. */
  take(): void
}

/** Sockets that asked for an upgrade, until it has been taken or refused. None of them stays for ever. */
export class PendingUpgrades {
  readonly #sockets = new Map<IncomingMessage, { socket: Socket; head: Buffer; late: NodeJS.Timeout }>()
  readonly #maxMs: number

  /** @param maxMs after so long a socket that is still pending is destroyed, whatever it waits for */
  constructor(maxMs: number) {
    this.#maxMs = maxMs
  }

  has(request: IncomingMessage): boolean {
    return this.#sockets.has(request)
  }

  add(request: IncomingMessage, socket: Socket, head: Buffer): void {
    // Node has taken its own listener away.
    socket.on('error', () => socket.destroy())
    const late = setTimeout(() => socket.destroy(), this.#maxMs)
    late.unref()
    this.#sockets.set(request, { socket, head, late })
    socket.once('close', () => this.take(request))
  }

  /** For whoever takes as long over it as its route allows; undefined where the request asked for no upgrade. */
  hold(request: IncomingMessage): Upgrade | undefined {
    const pending = this.#sockets.get(request)
    if (pending === undefined) return undefined
    clearTimeout(pending.late)
    const { socket, head } = pending
    return { socket, head, take: () => void this.take(request) }
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
