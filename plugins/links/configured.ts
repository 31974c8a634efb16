import { Socket } from 'node:net'
import { type Duplex, pipeline } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { OpenContext } from '../forward/index.ts'
import { hostHungUp } from './errors.ts'
import type { Relays } from './relays.ts'

/** Sealed streams to hosts of the configuration: they have no agent, so the streams end here. */
export class ConfiguredHosts {
  readonly #app: FastifyInstance
  readonly #relays: Relays

  constructor(app: FastifyInstance, relays: Relays) {
    this.#app = app
    this.#relays = relays
  }

  /** Carries a stream that has been authorised. Throws what it is to be refused with. */
  async serve(stream: TunnelStream, context: OpenContext): Promise<void> {
    const sinceMs = performance.now()
    const over = (error: TunnelError | undefined): void => {
      void this.#app.tunnel.notify('onClose', { ...context, error, durationMs: performance.now() - sinceMs })
    }
    try {
      const socket = await this.#dial(context)
      if (stream.state === 'closed') {
        socket.destroy()
        return over(undefined)
      }
      if (socket.destroyed) throw hostHungUp(context.machine)
      stream.accept()
      const duplex = new StreamDuplex(stream)
      // Each direction tells the other's failure.
      pipeline(duplex, socket, duplex, (failure) => {
        const error = failure ? asTunnelError(failure, 'ABORTED') : undefined
        this.#relays.countOver(error, performance.now() - sinceMs)
        if (socket instanceof Socket) this.#relays.carried(socket.bytesWritten, socket.bytesRead)
        over(error)
      })
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#app.tunnelMetrics.requests.inc({ kind: 'ssh', outcome: error.code })
      over(error)
      throw error
    }
  }

  async #dial(context: OpenContext): Promise<Duplex> {
    const { user, machine, target } = context
    const route = context.route ?? (await this.#app.machines.resolve(user.sub, machine))
    if (target !== undefined) {
      throw new TunnelError('POLICY_DENIED', 'a configured host is reached at its own address alone', {
        hop: 'proxy',
      })
    }
    const socket = await route.dial()
    try {
      await this.#app.tunnel.run('onOpen', context)
    } catch (error) {
      socket.destroy()
      throw error
    }
    return socket
  }
}
