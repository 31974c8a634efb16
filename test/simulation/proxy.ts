import type { User } from '../../plugins/auth/index.ts'
import type { LinkContext } from '../../plugins/forward/hooks.ts'
import { type OpenerLink, Streams } from '../../plugins/forward/streams.ts'
import { MachineDirectory } from '../../plugins/machines/directory.ts'
import type { MachineState } from '../../plugins/machines/records.ts'
import { OFF } from '../../plugins/tracing/tracing.ts'
import type { Hello } from '../../protocol/codec/hello.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import { Link } from '../../protocol/link/link.ts'
import { WorkMeter } from '../../protocol/link/work-meter.ts'
import type { MemoryTransport } from '../support/memory-transport.ts'
import { tiersByDefault } from '../support/tiers.ts'
import { Channels } from './channels.ts'
import { Ledger, NO_LOG } from './ledger.ts'
import type { Role } from './network.ts'
import { helloOf, SETTINGS } from './parties.ts'
import { ProcessClock } from './process-clock.ts'
import { Replica } from './replica.ts'
import type { World } from './world.ts'

const ADA: User = { sub: 'ada', tier: 'free', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
const LIMITS = tiersByDefault().free
/** As the door of links has them, in ms. */
const MOVE_MS = 5_000
const LOOK_MS = 200

/**
 * One process of a proxy: the shipped way of streams, the shipped table of agents, and in place of the plugins around
 * them a door of a few lines and services that say yes and keep a record.
 */
export class ProxyProcess {
  readonly clock: ProcessClock
  readonly ledger: Ledger
  readonly channels: Channels
  readonly streams: Streams
  /** Undefined for a proxy that knows of no other. */
  replica: Replica | undefined
  readonly id: string
  readonly #world: World
  readonly #machines: MachineDirectory
  readonly #work: WorkMeter
  readonly #links = new Map<Link, Role>()
  readonly #transports = new Set<MemoryTransport>()
  draining = false
  killed = false

  constructor(world: World, id: string, state: MachineState) {
    this.#world = world
    this.id = id
    const clock = new ProcessClock(world.clock)
    this.clock = clock
    this.ledger = new Ledger(clock, world.random)
    this.channels = new Channels()
    this.#machines = new MachineDirectory({}, SETTINGS.streams, state, { clock })
    this.#work = new WorkMeter(clock)
    const { audit, tunnelMetrics, hooks } = this.ledger
    this.streams = new Streams(
      {
        streams: SETTINGS.streams,
        request: { timeoutMs: 30_000, bodyMs: 60_000, idleMs: 3_600_000, slowMs: 5_000, hookMs: 5_000 },
        clock,
      },
      {
        auth: { check() {} },
        tiers: { limitsOf: () => LIMITS },
        policy: { check: () => this.#pause() },
        rateLimits: { takeStream: async () => {}, bytesPerSecond: () => 0 },
        machines: this.#machines,
        pool: this.channels,
        audit,
        tracing: OFF,
        tunnelMetrics,
      },
      hooks,
    )
  }

  async start(): Promise<void> {
    await this.#machines.follow(() => {})
    if (!this.#world.isCluster) return
    this.replica = new Replica(this.#world, {
      ...{ id: this.id, clock: this.clock, agents: this.#machines.agents, streams: this.streams },
      dialled: (transport) => this.#keep(transport as MemoryTransport),
    })
  }

  #keep(transport: MemoryTransport): void {
    for (const each of this.#transports) if (each.closed) this.#transports.delete(each)
    this.#transports.add(transport)
  }

  async #pause(): Promise<void> {
    const { random } = this.#world
    if (random() < 0.7) return
    await new Promise<void>((resolve) => this.clock.setTimer(resolve, Math.floor(random() * 40)))
  }

  accept(role: Role, transport: MemoryTransport): void {
    this.#keep(transport)
    if (role === 'relay') return this.replica?.mesh.accept(transport)
    const context: LinkContext = {
      user: ADA,
      role,
      connectionId: 'connection',
      correlationId: 'correlation',
      log: NO_LOG,
    }
    let admit: (admission: Promise<void>) => void = () => {}
    const admitted = new Promise<void>((resolve) => {
      admit = resolve
    })
    admitted.catch(() => {})
    const opener = role === 'client'
    const link: Link = new Link({
      transport,
      dialler: false,
      trust: 'user',
      hello: helloOf('proxy', this.id),
      clock: this.clock,
      work: this.#work,
      handlers: {
        ready: (peer) => {
          const admission = this.#admit(link, context, peer)
          admit(admission)
          return admission
        },
        ...(opener && {
          open: (open) => this.streams.open(connection, open),
          resume: (resume) => this.streams.resume(connection, resume),
        }),
        closed: () => {
          this.#links.delete(link)
          if (opener) this.streams.leave(link)
          else this.#machines.lost(ADA.sub, 'home', link)
        },
      },
    })
    const connection: OpenerLink = { link, context, admitted }
    this.#links.set(link, role)
    if (opener) this.streams.join(connection)
  }

  async #admit(link: Link, { role }: LinkContext, peer: Hello): Promise<void> {
    try {
      if (role === 'client') return
      if (this.draining) throw shuttingDown()
      if (peer.machine === undefined || peer.enrol === undefined) throw new Error('no machine')
      await this.#machines.enrol(ADA.sub, peer.machine, peer.enrol, {
        ...{ link, isFresh: () => true, limits: LIMITS },
      })
    } catch (error) {
      link.close(shuttingDown())
      throw error
    }
  }

  get #clients(): Link[] {
    return [...this.#links].flatMap(([link, role]) => (role === 'client' ? [link] : []))
  }

  /** Asks its clients to go elsewhere, as one that drains does, and stays. */
  sendClientsAway(): void {
    for (const link of this.#clients) link.goaway({ ...shuttingDown().toWire(), deadlineMs: 10_000 })
  }

  /** Leaves as the lifecycle's phases have it; resolves when nothing of it is left to do. */
  async drain(deadlineMs: number): Promise<void> {
    this.draining = true
    this.replica?.mesh.drain()
    for (const link of this.#links.keys()) link.goaway({ ...shuttingDown().toWire(), deadlineMs })
    const sinceMs = this.clock.now()
    for (;;) {
      const waitedMs = this.clock.now() - sinceMs
      const isAwaited = waitedMs < MOVE_MS ? this.#clients.length > 0 : this.streams.areUsed(this.#links)
      if (!isAwaited || waitedMs >= deadlineMs) break
      await new Promise<void>((resolve) => this.clock.setTimer(resolve, LOOK_MS))
    }
    for (const link of [...this.#links.keys()]) link.close(shuttingDown())
    this.streams.close(shuttingDown())
    this.#machines.close()
    this.replica?.close()
  }

  /** The process is gone, with all that it knew. */
  kill(): void {
    this.killed = true
    this.ledger.silenced = true
    this.clock.kill()
    for (const transport of this.#transports) {
      transport.receiver = undefined
      transport.peer?.drop(1006, '')
      transport.drop(1006, '')
    }
  }
}
