import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { HttpOrigins } from '../../plugins/forward/http/origins.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { startProxy, type TestProxy } from '../client/proxy.ts'
import { places } from '../plugins/forward/http/places.ts'
import type { Scope } from '../support/scope.ts'

/** For HTTP, as the pool of a proxy has them: three SSH connections of ten. */
const CHANNELS = 30

/** A service that carries each key out once, as one does that knows Idempotency-Key, and counts. */
export interface Target {
  readonly port: number
  /** How often each request was carried out, by its own name, in the order of first arrival. */
  readonly executed: Map<string, number>
  /** Called with each arrival, before the answer. */
  onArrival: (name: string) => void
}

export async function startTarget(scope: Scope): Promise<Target> {
  const keys = new Set<string>()
  const target = { port: 0, executed: new Map<string, number>(), onArrival: () => {} }
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    incoming.resume().once('end', () => {
      const name = String(incoming.headers['x-name'])
      const key = incoming.headers['idempotency-key']
      const isAgain = typeof key === 'string' && keys.has(key)
      if (typeof key === 'string') keys.add(key)
      if (!isAgain) target.executed.set(name, (target.executed.get(name) ?? 0) + 1)
      ;(target as Target).onArrival(name)
      outgoing.end(name)
    })
  }
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  target.port = (server.address() as AddressInfo).port
  return target
}

/** The real client's counterpart: real links, and the proxy's own HTTP, over sockets in place of SSH channels. */
export class Ground {
  readonly #scope: Scope
  readonly #maxStreams: number
  #proxy!: TestProxy
  #origins!: HttpOrigins

  private constructor(scope: Scope, maxStreams: number) {
    this.#scope = scope
    this.#maxStreams = maxStreams
  }

  static async start(scope: Scope, maxStreams: number): Promise<Ground> {
    const ground = new Ground(scope, maxStreams)
    await ground.#start(0)
    scope.after(() => ground.#origins.close(gone()))
    return ground
  }

  get url(): string {
    return this.#proxy.url
  }

  cut(): void {
    this.#proxy.cut()
  }

  /** As a SIGKILL and a start: what it knew of streams is gone, and so are its connections to the service. */
  async restartProxy(): Promise<void> {
    const { port } = this.#proxy
    await this.#proxy.close()
    this.#origins.close(gone())
    await this.#start(port)
  }

  async #start(port: number): Promise<void> {
    const origins = new HttpOrigins(() => 0)
    const { context } = places(this.#scope, CHANNELS)
    this.#origins = origins
    this.#proxy = await startProxy(
      this.#scope,
      {
        maxStreams: this.#maxStreams,
        onStream: (stream) => void origins.serve(stream, context(stream.head.target ?? '')),
      },
      port,
    )
  }
}

function gone(): TunnelError {
  return new TunnelError('SHUTTING_DOWN', 'the proxy is gone', { hop: 'proxy' })
}
