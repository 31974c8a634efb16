import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import {
  type AddedKind,
  isAddedKind,
  LOOKUP,
  type RoutedHead,
  type StreamKind,
} from '../../protocol/codec/heads.ts'
import type { Target } from '../../protocol/codec/target.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { Route } from '../machines/index.ts'
import type { AcquireRequest, ChannelLease, OpenChannel, Pool } from '../pool/index.ts'
import { neverAccepted, notCarried } from './errors.ts'
import { HttpOrigins } from './http/origins.ts'
import { type Carrier, Carriers } from './kinds.ts'
import type { Log } from './log.ts'
import type { RequestOptions } from './options.ts'
import { PacedStream } from './paced-stream.ts'
import type { Passage } from './passage.ts'
import { serveConfigured } from './sealed/configured.ts'
import type { ServeContext } from './serve.ts'
import { TargetNames } from './target-names.ts'
import { WatchedStream } from './watched-stream.ts'

interface PooledServices {
  readonly pool: Pick<Pool, 'acquire' | 'open' | 'waiting'>
}

/** As in `ServeContext`. */
type Limits = Pick<RequestOptions, 'timeoutMs' | 'bodyMs' | 'idleMs'>

/** The streams that end at this proxy, joined to what they are for: inspected ones, and sealed ones to configured hosts. */
export class Carriage {
  readonly #services: PooledServices
  readonly #clock: Clock
  readonly #limits: Limits
  readonly #origins: HttpOrigins
  readonly #carriers: Carriers

  constructor(services: PooledServices, clock: Clock, limits: Limits) {
    this.#services = services
    this.#clock = clock
    this.#limits = limits
    this.#origins = new HttpOrigins((userId) => services.pool.waiting(userId))
    this.#carriers = new Carriers(this.#origins)
  }

  /** See `Carriers.add`. */
  addKind(kind: AddedKind, carrier: Carrier): void {
    this.#carriers.add(kind, carrier)
  }

  /** @throws {TunnelError} for a kind that a plugin would have to carry, and none does, or that only a proxy may ask for */
  checkKind(kind: StreamKind): void {
    const isAdded = isAddedKind(kind)
    const mayBeMissing = isAdded || kind === LOOKUP
    if (mayBeMissing && this.#carriers.get(kind) === undefined) throw notCarried(kind, isAdded)
  }

  /** Carries a stream that has been admitted, to its end. Never throws: what fails resets the stream. */
  carry(stream: ByteStream, passage: Passage, route: Route): Promise<void> {
    return passage.trace.within(() => this.#carry(stream, passage, route))
  }

  async #carry(stream: ByteStream, passage: Passage, route: Route): Promise<void> {
    const { pace } = passage.session
    const context = new Carried(passage, route, stream.head, this.#services, this.#clock, this.#limits)
    const { kind } = stream.head
    const carrier = this.#carriers.get(kind)
    try {
      // What is sealed has nothing to show, and nobody may look on.
      const shown = passage.context.mode === 'sealed' ? stream : new WatchedStream(stream, passage.watchers)
      const carried = pace === undefined ? shown : new PacedStream(shown, pace)
      if (carrier !== undefined) {
        await carrier(carried, context)
        // Its opener would wait for an answer until its time is over.
        if (stream.state === 'opening') throw neverAccepted(kind)
      } else if (route.source === 'configured') await serveConfigured(carried, route, context)
      else throw notCarried(kind, isAddedKind(kind))
    } catch (thrown) {
      stream.reset(asTunnelError(thrown, 'proxy'))
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

const NO_HEADERS: Record<string, string> = {}

/** What the carrier of one stream is given. */
class Carried implements ServeContext {
  readonly names: TargetNames
  readonly timeoutMs: number
  readonly bodyMs: number
  readonly idleMs: number
  readonly clock: Clock
  readonly #passage: Passage
  readonly #route: Route
  readonly #head: RoutedHead
  readonly #services: PooledServices

  constructor(
    passage: Passage,
    route: Route,
    head: RoutedHead,
    services: PooledServices,
    clock: Clock,
    { timeoutMs, bodyMs, idleMs }: Limits,
  ) {
    this.#passage = passage
    this.names = new TargetNames(passage.context, route, passage.shared.services.policy)
    this.#route = route
    this.#head = head
    this.#services = services
    this.clock = clock
    this.timeoutMs = timeoutMs
    this.bodyMs = bodyMs
    this.idleMs = idleMs
  }

  get userId(): string {
    return this.#passage.context.user.sub
  }
  get owner(): string {
    return this.#route.owner
  }
  get machine(): string {
    return this.#route.name
  }
  get target(): Target | undefined {
    return this.#passage.target
  }
  get headers(): Record<string, string> {
    return this.#passage.context.headers ?? NO_HEADERS
  }
  get log(): Log {
    return this.#passage.context.log
  }

  acquire(signal: AbortSignal): Promise<ChannelLease> {
    return this.#services.pool.acquire(this.#wish(signal))
  }
  open<Channel>(
    signal: AbortSignal,
    open: (connection: ChannelLease['connection']) => Promise<Channel>,
  ): Promise<OpenChannel<ChannelLease['connection'], Channel>> {
    return this.#services.pool.open(this.#wish(signal), open)
  }
  #wish(signal: AbortSignal): AcquireRequest {
    return { userId: this.userId, route: this.#route, priority: this.#head.priority ?? 'normal', signal }
  }

  onOpen(): Promise<void> | undefined {
    return this.#passage.opened()
  }
  onAccepted(): void {
    this.#passage.carrying()
  }
  onHead(): void {
    this.#passage.answered()
  }
  carried(direction: 'in' | 'out', byteCount: number): void {
    this.#passage.carried(direction, byteCount)
  }
  suspended(): void {
    this.#passage.suspended()
  }
  resumed(): void {
    this.#passage.resumed()
  }
}
