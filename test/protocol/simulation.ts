import { TunnelError } from '../../protocol/codec/errors.ts'
import type { ResumeHead, RoutedHead } from '../../protocol/codec/heads.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import { Relay } from '../../protocol/stream/relay.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { MemoryPair } from '../support/memory-transport.ts'
import { seededBytes } from '../support/random.ts'
import { Random } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export interface Outcome {
  seed: number
  streams: number
  bytes: number
  faults: Record<string, number>
  /** Streams that ended in an error, by code. */
  errors: Record<string, number>
  /** What must never be: empty when the schedule held. */
  violations: string[]
}

/** Errors that a schedule can bring about between correct parties. */
const EXPLAINED: ReadonlySet<string> = new Set([
  'MACHINE_OFFLINE',
  'UNKNOWN_STREAM',
  'RESUME_EXPIRED',
  'SHUTTING_DOWN',
])

/** A sealed stream has its state at its two ends alone: no death of a proxy is an excuse. */
const EXPLAINED_SEALED: ReadonlySet<string> = new Set(['MACHINE_OFFLINE', 'RESUME_EXPIRED'])

const SETTINGS = {
  windowBytes: 65_536,
  maxWindowBytes: 524_288,
  resumeMs: 20_000,
  maxPerLink: 64,
  userBudgetBytes: 67_108_864,
}
const HEARTBEAT = { intervalMs: 1_000, timeoutMs: 2_500 }

function hello(role: Hello['role']): Hello {
  return {
    role,
    version: PROTOCOL_VERSION,
    software: 'simulation',
    heartbeat: HEARTBEAT,
    limits: { maxFrameBytes: 1_048_576, maxStreams: 64 },
    resumeMs: SETTINGS.resumeMs,
  }
}

/** More than a direction has. */
const MAX_BYTES = 1_048_576
/** What every direction takes its bytes from, each from a place of its own. */
const NOISE = seededBytes('simulation', 2 * MAX_BYTES)

/** The bytes of one direction, by position, so that neither side has to keep them. */
function bytesAt(seed: number, position: number, length: number): Uint8Array {
  if (position + length > MAX_BYTES) throw new Error('a direction has no more bytes')
  const begin = (Math.imul(seed, 2_246_822_519) >>> 12) + position
  return NOISE.subarray(begin, begin + length)
}

/** Writes a direction's bytes as it may, reads the other's slowly, and sees that they are the right ones. */
class Talker {
  readonly #world: World
  readonly #stream: TunnelStream
  readonly #sendSeed: number
  readonly #receiveSeed: number
  readonly #sendBytes: number
  readonly receiveBytes: number
  #written = 0
  #received = 0
  #unread = 0
  #blocked = false
  readonly sealed: boolean
  ended = false
  closed = false
  error: TunnelError | undefined

  constructor(
    world: World,
    stream: TunnelStream,
    name: string,
    sends: [number, number],
    receives: [number, number],
  ) {
    this.#world = world
    this.#stream = stream
    this.sealed = stream.head.kind === 'ssh'
    ;[this.#sendSeed, this.#sendBytes] = sends
    ;[this.#receiveSeed, this.receiveBytes] = receives
    stream.handle({
      data: (bytes) => {
        const at = this.#received
        this.#received += bytes.length
        if (this.#received > this.receiveBytes) world.violation(`${name}: more bytes than were sent`)
        else if (Buffer.compare(bytes, bytesAt(this.#receiveSeed, at, bytes.length)) !== 0)
          world.violation(`${name}: from byte ${at} on something else than was sent`)
        this.#read(bytes.length)
      },
      ended: () => {
        if (this.#received !== this.receiveBytes)
          world.violation(`${name}: END at ${this.#received} of ${this.receiveBytes}`)
        if (this.ended) world.violation(`${name}: a second END`)
        this.ended = true
      },
      drained: () => {
        this.#blocked = false
        this.#writeOn()
      },
      closed: (error) => {
        if (this.closed) world.violation(`${name}: closed twice`)
        this.closed = true
        this.error = error
        if (error === undefined && (!this.ended || this.#written !== this.#sendBytes)) {
          world.violation(`${name}: closed in order before both halves were over`)
        }
      },
    })
  }

  start(): void {
    this.#writeOn()
  }

  #writeOn(): void {
    if (this.closed || this.#blocked) return
    const { random, clock } = this.#world
    if (this.#written === this.#sendBytes) return this.#stream.end()
    const size = Math.min(this.#sendBytes - this.#written, 1 + Math.floor(random() ** 3 * 50_000))
    const chunk = new Uint8Array(bytesAt(this.#sendSeed, this.#written, size))
    this.#written += size
    this.#blocked = !this.#stream.write(chunk)
    if (this.#blocked) return
    const pauseMs = random() < 0.5 ? 0 : Math.floor(random() * 200)
    clock.setTimer(() => this.#writeOn(), pauseMs)
  }

  #read(bytes: number): void {
    this.#unread += bytes
    if (this.#unread > SETTINGS.maxWindowBytes) this.#world.violation('a window was exceeded')
    const take = (): void => {
      this.#unread -= bytes
      this.#stream.consumed(bytes)
    }
    const { random, clock } = this.#world
    if (random() < 0.6) take()
    else clock.setTimer(take, Math.floor(random() * 300))
  }
}

/** A proxy that relays sealed streams and takes inspected ones itself; it may be killed and started again. */
class RelayingProxy {
  readonly #world: World
  readonly memory = new RelayMemory(1_048_576)
  readonly links = new Set<Link>()
  readonly pairs = new Set<MemoryPair>()
  readonly relays = new Set<Relay>()
  readonly acceptor: StreamAcceptor
  agentLink: Link | undefined
  readonly #waiting = new Set<() => void>()
  dead = false

  constructor(world: World) {
    this.#world = world
    this.acceptor = new StreamAcceptor({
      settings: SETTINGS,
      clock: world.clock,
      budgetOf: () => world.proxyBudget,
      onStream: (stream) => world.accepted(stream),
    })
  }

  /** The listener's end of a link, for whoever dials. */
  listen(role: 'client' | 'agent', pair: MemoryPair): void {
    const link = new Link({
      transport: pair.b,
      dialler: false,
      hello: hello('proxy'),
      clock: this.#world.clock,
      handlers: {
        ready: () => {
          if (role !== 'agent') return
          this.agentLink = link
          for (const go of [...this.#waiting]) go()
        },
        open: (open) => this.#route(open, open.head.kind),
        resume: (resume) => this.#route(resume, resume.head.kind),
        closed: () => {
          this.links.delete(link)
          this.pairs.delete(pair)
          if (this.agentLink === link) this.agentLink = undefined
        },
      },
    })
    this.links.add(link)
    this.pairs.add(pair)
  }

  #route(incoming: IncomingOpen | IncomingResume, kind: string): void {
    if (kind !== 'ssh') {
      if ('first' in incoming) this.acceptor.open(incoming, 'user')
      else this.acceptor.resume(incoming, 'user')
      return
    }
    const relay = new Relay(incoming, {
      memory: this.memory,
      onOver: () => {
        this.relays.delete(relay)
        this.#waiting.delete(go)
      },
    })
    this.relays.add(relay)
    const go = (): void => {
      const link = this.agentLink
      if (relay.over || this.dead) return
      if (link === undefined || link.closed) {
        if ('first' in incoming) relay.reset(new TunnelError('MACHINE_OFFLINE', 'no agent'))
        else this.#waiting.add(go)
        return
      }
      this.#waiting.delete(go)
      const head: RoutedHead | ResumeHead = { ...incoming.head, subject: 'user' }
      relay.connect(link, head)
    }
    this.#world.clock.setTimer(go, Math.floor(this.#world.random() * 30))
  }

  kill(): void {
    this.dead = true
    for (const pair of [...this.pairs]) pair.cut()
    // What a killed process remembers is gone with it.
    this.acceptor.close(new TunnelError('SHUTTING_DOWN', 'killed'))
  }
}

/** Dials until it has a link, as client and agent do. */
class Dialler {
  readonly #world: World
  readonly #role: 'client' | 'agent'
  readonly #onLink: (link: Link, handlers: { dialler: Dialler }) => void
  readonly #handlers: { open?: (open: IncomingOpen) => void; resume?: (resume: IncomingResume) => void }
  pair: MemoryPair | undefined
  link: Link | undefined
  stopped = false

  constructor(
    world: World,
    role: 'client' | 'agent',
    onLink: (link: Link) => void,
    handlers: { open?: (open: IncomingOpen) => void; resume?: (resume: IncomingResume) => void } = {},
  ) {
    this.#world = world
    this.#role = role
    this.#onLink = onLink
    this.#handlers = handlers
  }

  dial(): void {
    if (this.stopped) return
    const { clock, random } = this.#world
    const base = Math.floor(random() * 60)
    const pair = new MemoryPair({ clock, latencyMs: () => base + Math.floor(random() * 5) })
    const link = new Link({
      transport: pair.a,
      dialler: true,
      hello: hello(this.#role),
      clock,
      handlers: {
        ...this.#handlers,
        ready: () => {
          const older = this.link
          this.pair = pair
          this.link = link
          this.#onLink(link, { dialler: this })
          older?.close()
        },
        closed: () => {
          if (this.link !== link && this.link !== undefined) return
          this.link = undefined
          clock.setTimer(() => this.dial(), 1 + Math.floor(random() * random() * 2_000))
        },
      },
    })
    this.#world.proxy.listen(this.#role, pair)
  }
}

class World {
  readonly clock = new VirtualClock()
  readonly random: () => number
  readonly violations: string[] = []
  readonly clientBudget = new Budget(SETTINGS.userBudgetBytes)
  readonly agentBudget = new Budget(SETTINGS.userBudgetBytes)
  readonly proxyBudget = new Budget(SETTINGS.userBudgetBytes)
  readonly opener: StreamOpener
  readonly acceptor: StreamAcceptor
  readonly talkers: Talker[] = []
  readonly plans = new Map<string, { up: [number, number]; down: [number, number] }>()
  readonly client: Dialler
  readonly agent: Dialler
  readonly faults: Record<string, number> = {}
  proxy: RelayingProxy
  killed = false

  constructor(seed: number) {
    const random = new Random(seed)
    this.random = () => random.next()
    this.proxy = new RelayingProxy(this)
    this.opener = new StreamOpener({ settings: SETTINGS, clock: this.clock, budget: this.clientBudget })
    this.acceptor = new StreamAcceptor({
      settings: SETTINGS,
      clock: this.clock,
      budgetOf: () => this.agentBudget,
      onStream: (stream) => this.accepted(stream),
    })
    this.client = new Dialler(this, 'client', (link) => this.opener.attach(link))
    this.agent = new Dialler(this, 'agent', () => {}, {
      open: (open) => this.acceptor.open(open, open.head.subject),
      resume: (resume) => this.acceptor.resume(resume, resume.head.subject),
    })
  }

  violation(text: string): void {
    if (this.violations.length < 10) this.violations.push(text)
  }

  accepted(stream: TunnelStream): void {
    const plan = this.plans.get(stream.id)
    if (plan === undefined) return this.violation('a stream nobody opened')
    const talker = new Talker(this, stream, `acceptor ${stream.id.slice(0, 4)}`, plan.down, plan.up)
    this.talkers.push(talker)
    this.clock.setTimer(
      () => {
        stream.accept()
        talker.start()
      },
      Math.floor(this.random() * 50),
    )
  }

  open(index: number): void {
    const { random } = this
    const size = (): number => (random() < 0.2 ? 0 : Math.floor(random() ** 2 * 400_000))
    const plan: { up: [number, number]; down: [number, number] } = {
      up: [2 * index + 1, size()],
      down: [2 * index + 2, size()],
    }
    const stream = this.opener.open({
      kind: random() < 0.75 ? 'ssh' : 'tcp',
      machine: 'home',
      priority: (['high', 'normal', 'low'] as const)[Math.floor(random() * 3)]!,
    })
    this.plans.set(stream.id, plan)
    const talker = new Talker(this, stream, `opener ${stream.id.slice(0, 4)}`, plan.up, plan.down)
    this.talkers.push(talker)
    talker.start()
  }

  fault(): void {
    const kinds = [
      'cut client',
      'cut agent',
      'cut both',
      'freeze client',
      'freeze agent',
      'kill proxy',
      'move client',
    ] as const
    const kind = kinds[Math.floor(this.random() ** 1.3 * kinds.length)]!
    this.faults[kind] = (this.faults[kind] ?? 0) + 1
    switch (kind) {
      case 'cut client':
        return this.client.pair?.cut()
      case 'cut agent':
        return this.agent.pair?.cut()
      case 'cut both':
        this.client.pair?.cut()
        return this.agent.pair?.cut()
      case 'freeze client':
        return this.client.pair?.freeze()
      case 'freeze agent':
        return this.agent.pair?.freeze()
      case 'kill proxy':
        this.killed = true
        this.proxy.kill()
        this.proxy = new RelayingProxy(this)
        return
      case 'move client':
        // Make before break: the new link carries the streams before the old one goes.
        if (this.client.link !== undefined) this.client.dial()
    }
  }
}

/** One schedule from its seed, to its end. */
export async function simulate(seed: number): Promise<Outcome> {
  const world = new World(seed)
  const { clock, random } = world
  world.agent.dial()
  await clock.run(500)
  world.client.dial()
  await clock.run(1_000)
  const count = 1 + Math.floor(random() * 5)
  for (let index = 0; index < count; index++)
    clock.setTimer(() => world.open(index), Math.floor(random() * 3_000))
  const faults = Math.floor(random() * 25)
  const spanMs = 500 + random() * 10_000
  for (let index = 0; index < faults; index++)
    clock.setTimer(() => world.fault(), Math.floor(random() * spanMs))

  const openers = (): number => world.opener.size
  await clock.run(14_000)
  await clock.run(120_000, () => openers() === 0 && world.talkers.every((talker) => talker.closed))
  // Long enough for every resume window, so that what was left behind would show.
  await clock.run(clock.now() + SETTINGS.resumeMs + 10_000)

  const errors: Record<string, number> = {}
  let bytes = 0
  for (const talker of world.talkers) {
    if (!talker.closed) world.violation('a stream never ended')
    if (talker.error !== undefined) {
      errors[talker.error.code] = (errors[talker.error.code] ?? 0) + 1
      const explained = talker.sealed ? EXPLAINED_SEALED : EXPLAINED
      if (!explained.has(talker.error.code)) world.violation(`${talker.error.code}: ${talker.error.message}`)
    } else bytes += talker.receiveBytes
  }
  await leftovers(world)
  return { seed, streams: count, bytes, faults: world.faults, errors, violations: world.violations }
}

async function leftovers(world: World): Promise<void> {
  const nothing: Record<string, number> = {
    'streams of the opener': world.opener.size,
    'streams of the agent': world.acceptor.size,
    'streams of the proxy': world.proxy.acceptor.size,
    relays: world.proxy.relays.size,
    'bytes in relays': world.proxy.memory.usedBytes,
    'bytes of the client': world.clientBudget.usedBytes,
    'bytes of the agent': world.agentBudget.usedBytes,
    'bytes of the proxy': world.proxyBudget.usedBytes,
    'places on the client link': world.client.link?.streamCount ?? 0,
    'places on the agent link': world.agent.link?.streamCount ?? 0,
  }
  for (const [what, left] of Object.entries(nothing)) if (left !== 0) world.violation(`${what} left: ${left}`)
  world.client.stopped = true
  world.agent.stopped = true
  const links = [world.client.link, world.agent.link, ...world.proxy.links]
  for (const link of links) link?.terminate()
  // What the world itself has under way: a dial, a slow reader.
  await world.clock.run(world.clock.now() + 10_000)
  if (world.clock.pending !== 0) world.violation(`timers left: ${world.clock.pending}`)
}
