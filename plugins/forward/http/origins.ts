import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Priority } from '../../../protocol/codec/heads.ts'
import type { Target } from '../../../protocol/codec/target.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import { methodRefused, targetMissing } from '../errors.ts'
import type { ServeContext } from '../serve.ts'
import { HttpExchange } from './exchange.ts'
import { HttpOrigin } from './origin.ts'

/** All HTTP connections. An origin is there while it has a connection or a request: so there are never many. */
export class HttpOrigins {
  readonly #origins = new Map<string, HttpOrigin>()
  readonly #waiting: (userId: string) => number

  /** `waiting`: how many of a user's requests wait for an SSH channel. */
  constructor(waiting: (userId: string) => number) {
    this.#waiting = waiting
  }

  serve(stream: ByteStream, context: ServeContext): Promise<void> {
    const { target } = context
    const request = stream.head.http
    if (target === undefined || request === undefined) throw targetMissing('http')
    // It turns a connection into something that is no HTTP any more.
    if (request.method.toUpperCase() === 'CONNECT') throw methodRefused(request.method)
    const origin = this.#of(context, target)
    const exchange = new HttpExchange(stream, request, context, origin, target.authority)
    exchange.begin()
    return exchange.served
  }

  /** Requests that wait for a connection. */
  waiting(): Record<Priority, number> {
    const total = { high: 0, normal: 0, low: 0 }
    for (const origin of this.#origins.values()) {
      const { high, normal, low } = origin.waiting
      total.high += high
      total.normal += normal
      total.low += low
    }
    return total
  }

  close(error: TunnelError): void {
    for (const origin of [...this.#origins.values()]) origin.close(error)
  }

  #of(context: ServeContext, target: Target): HttpOrigin {
    // Neither an address nor the name of a machine has a line break in it.
    const key = `${target.authority}\n${context.machine}\n${context.owner}\n${context.userId}`
    let origin = this.#origins.get(key)
    if (origin === undefined) {
      const created = new HttpOrigin({
        target,
        timeoutMs: context.timeoutMs,
        acquire: (signal) => context.acquire(signal),
        othersWaiting: (own) => this.#waiting(context.userId) - own,
        onEmpty: () => {
          if (this.#origins.get(key) === created) this.#origins.delete(key)
        },
      })
      origin = created
      this.#origins.set(key, origin)
    }
    return origin
  }
}
