import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Connections at once, at most. */
const MAX_CONNECTIONS = 4_096

/**
 * Hands TCP connections out in turn, whoever they come from. One that a replica refuses goes to the next one, as with
 * nginx and HAProxy; a replica that drains gets its share until it is gone.
 */
export class RoundRobin {
  readonly host: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #ports: readonly number[] = []
  #turn = 0

  /** @param host an address that network namespaces reach, where clients are in one */
  static async listen(host = '127.0.0.1'): Promise<RoundRobin> {
    const balancer = new RoundRobin(host)
    balancer.#server.listen(0, host)
    await once(balancer.#server, 'listening')
    return balancer
  }

  private constructor(host: string) {
    this.host = host
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      this.#keep(near)
      this.#join(near, this.#ports.length)
    })
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  get url(): string {
    return `http://${this.host}:${(this.#server.address() as AddressInfo).port}`
  }

  /** Where new connections go from now on; those that are there stay. */
  async route(ports: readonly number[]): Promise<void> {
    this.#ports = ports
  }

  /** Drops every connection, as one does that is started again. */
  async reload(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.#server.close()
    void this.reload()
  }

  #join(near: Socket, tries: number): void {
    const port = this.#ports[this.#turn++ % this.#ports.length]
    if (port === undefined || tries === 0) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    this.#keep(far)
    let joined = false
    far.once('connect', () => {
      joined = true
      if (near.destroyed) return void far.destroy()
      near.pipe(far).pipe(near)
      near.once('close', () => far.destroy())
    })
    far.once('close', () => {
      if (joined || near.destroyed) near.destroy()
      else this.#join(near, tries - 1)
    })
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket))
  }
}
