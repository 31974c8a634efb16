import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamKind } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { Route } from '../machines/index.ts'
import type { Pool } from '../pool/index.ts'
import { notCarried } from './errors.ts'
import { HttpOrigins } from './http/origins.ts'
import { type Carrier, carriersOf } from './kinds.ts'
import type { Passage } from './passage.ts'
import { serveConfigured } from './sealed/configured.ts'
import type { ServeContext } from './serve.ts'

interface PooledServices {
  readonly pool: Pick<Pool, 'acquire' | 'open' | 'waiting'>
}

/** The streams that end at this proxy, joined to what they are for: inspected ones, and sealed ones to configured hosts. */
export class Carriage {
  readonly #services: PooledServices
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #origins: HttpOrigins
  readonly #carriers: Readonly<Partial<Record<StreamKind, Carrier>>>

  /** @param timeoutMs for sshd's answer to a channel, and for the head of a response */
  constructor(services: PooledServices, clock: Clock, timeoutMs: number) {
    this.#services = services
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#origins = new HttpOrigins((userId) => services.pool.waiting(userId))
    this.#carriers = carriersOf(this.#origins)
  }

  /** Carries a stream that has been admitted, to its end. Never throws: what fails resets the stream. */
  async carry(stream: ByteStream, passage: Passage, route: Route): Promise<void> {
    const context = this.#serveContext(stream, passage, route)
    const { kind } = stream.head
    const carrier = this.#carriers[kind]
    try {
      if (carrier !== undefined) await carrier(stream, context)
      else if (route.source === 'configured') await serveConfigured(stream, route, context)
      else throw notCarried(kind)
    } catch (thrown) {
      stream.reset(asTunnelError(thrown, 'proxy'))
    }
  }

  #serveContext(stream: ByteStream, passage: Passage, route: Route): ServeContext {
    const { user, machine, log, target = stream.head.target, headers = {} } = passage.context
    const { priority = 'normal' } = stream.head
    return {
      userId: user.sub,
      machine,
      target,
      headers,
      timeoutMs: this.#timeoutMs,
      clock: this.#clock,
      log,
      acquire: (signal) => this.#services.pool.acquire({ userId: user.sub, route, priority, signal }),
      open: (signal, open) => this.#services.pool.open({ userId: user.sub, route, priority, signal }, open),
      onOpen: () => passage.opened(),
      onAccepted: () => passage.carrying(),
      onHead: () => passage.answered(),
      carried: (direction, byteCount) => passage.carried(direction, byteCount),
      suspended: () => passage.suspended(),
      resumed: () => passage.resumed(),
    }
  }

  /** Requests that wait for a connection, by priority. */
  waiting(): ReturnType<HttpOrigins['waiting']> {
    return this.#origins.waiting()
  }

  close(error: TunnelError): void {
    this.#origins.close(error)
  }
}
