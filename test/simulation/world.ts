import type { Session } from '../../client/session.ts'
import type { Place } from '../../plugins/cluster/places.ts'
import type { MachineState } from '../../plugins/machines/records.ts'
import type { Json } from '../../plugins/state/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { Random } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { type Line, Network } from './network.ts'
import { HOMES, Machine, newClient, SETTINGS } from './parties.ts'
import { ProcessClock } from './process-clock.ts'
import { ProxyProcess } from './proxy.ts'
import { type Direction, type Plan, PREFACE_BYTES, Talker } from './talker.ts'

const FAULTS = [
  'cut client',
  'cut agent',
  'cut both',
  'freeze client',
  'freeze agent',
  'move client',
  'check',
  'cut all',
  'kill proxy',
  'drain proxy',
] as const
const CLUSTER_FAULTS = [...FAULTS, 'cut mesh', 'freeze mesh', 'freeze mesh one way'] as const
type Fault = (typeof CLUSTER_FAULTS)[number]
/** How long a replica that died is named to others, in ms. */
const RECORD_MS = 16_000

/** What a proxy keeps on disk, or replicas keep in Redis. The machine has been on line there at some time: it is no unknown one. */
function memoryState(): MachineState {
  const records = new Map<string, Json>([
    ['ada home', { hostKeys: [], changedKeys: [], formerKeys: [], sshUser: 'ada' }],
  ])
  return {
    get: async (_namespace, key) => records.get(key),
    put: async (_namespace, key, value) => void records.set(key, value),
    create: async (_namespace, key, value) => !records.has(key) && records.set(key, value) !== undefined,
    delete: async (_namespace, key) => void records.delete(key),
    list: async () => [...records],
    watch: () => () => {},
  }
}

/**
 * A client, two proxies and an agent that is at home on both, on a network that fails; in a cluster the proxies are replicas,
 * and there is a third one, at which no agent is at home.
 */
export class World {
  readonly settings = SETTINGS
  readonly clock = new VirtualClock()
  readonly random: () => number
  readonly network: Network
  readonly violations: string[] = []
  readonly talkers: Talker[] = []
  readonly faults: Partial<{ [Name in Fault]: number }> = {}
  readonly machine: Machine
  readonly clientClock: ProcessClock
  readonly client: Session
  /** Every process of a proxy that there has been. */
  readonly proxies: ProxyProcess[] = []
  /** What was opened, by the stream's id. */
  readonly plans = new Map<string, Plan>()
  readonly #byIndex: Plan[] = []
  readonly isCluster: boolean
  readonly urls: readonly string[]
  readonly #states: Map<string, MachineState>
  /** What replicas have said of themselves, by their ids. */
  readonly #said = new Map<string, { url: string; untilMs: number }>()

  constructor(seed: number, isCluster: boolean) {
    this.isCluster = isCluster
    this.urls = isCluster ? [...HOMES, 'ws://c'] : HOMES
    const shared = memoryState()
    this.#states = new Map(this.urls.map((url) => [url, isCluster ? shared : memoryState()]))
    const random = new Random(seed)
    this.random = () => random.next()
    this.network = new Network(this.clock, this.random)
    this.machine = new Machine(this, (stream) => this.#arrived(stream))
    this.clientClock = new ProcessClock(this.clock)
    this.client = newClient(this, this.clientClock)
    for (const connection of [this.client.connection, ...this.machine.connections]) {
      connection.on('failed', ({ code, message }) => this.violation(`a party gave up: ${code} ${message}`))
    }
  }

  violation(text: string): void {
    if (this.violations.length < 10) this.violations.push(text)
  }

  async startProxy(url: string): Promise<void> {
    const proxy = new ProxyProcess(this, `proxy-${this.proxies.length}`, this.#states.get(url)!)
    this.proxies.push(proxy)
    this.#said.set(proxy.id, { url, untilMs: Number.POSITIVE_INFINITY })
    await proxy.start()
    this.network.proxies.set(url, proxy)
  }

  /** Where replicas may be. */
  places(): Place[] {
    const nowMs = this.clock.now()
    return [...this.#said].flatMap(([id, { url, untilMs }]) => (untilMs > nowMs ? [{ id, url }] : []))
  }

  connect(): void {
    for (const connection of this.machine.connections) this.#connect(connection)
    this.#connect(this.client.connection)
  }

  #connect(connection: Session['connection']): void {
    connection.connect(true).catch(({ code, message }: TunnelError) => {
      this.violation(`a party did not connect: ${code} ${message}`)
    })
  }

  /** A stream has come to the machine: sealed as it was opened, inspected behind its preface. */
  #arrived(stream: TunnelStream): void {
    const plan = this.plans.get(stream.id)
    if (plan !== undefined) return this.#talk(stream, plan, [])
    stream.accept()
    const chunks: Uint8Array[] = []
    stream.handle({
      data: (bytes) => {
        chunks.push(bytes)
        const early = Buffer.concat(chunks)
        if (early.length < PREFACE_BYTES) return
        stream.consumed(PREFACE_BYTES)
        const known = this.#byIndex[early.readUInt32BE(0)]
        if (known === undefined) return this.violation('a stream that nobody opened')
        this.#talk(stream, known, [early.subarray(PREFACE_BYTES)])
      },
      closed: () => {},
    })
  }

  #talk(stream: TunnelStream, plan: Plan, early: Uint8Array[]): void {
    const talker = new Talker(this, stream, plan, 'machine')
    this.talkers.push(talker)
    for (const bytes of early) if (bytes.length > 0) talker.data(bytes)
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
    const direction = (seed: number): Direction => ({
      seed,
      byteCount: random() < 0.2 ? 0 : Math.floor(random() ** 2 * 400_000),
    })
    const kind = random() < 0.7 ? 'ssh' : 'tcp'
    const [up, down] = [direction(2 * index + 1), direction(2 * index + 2)]
    const plan: Plan = { index, kind, up, down, isGivenUp: false }
    this.#byIndex[index] = plan
    const stream = this.client.opener.open({
      kind,
      machine: 'home',
      priority: (['high', 'normal', 'low'] as const)[Math.floor(random() * 3)]!,
      ...(kind === 'tcp' ? { target: `plan-${index}:22` } : {}),
    })
    this.plans.set(stream.id, plan)
    const talker = new Talker(this, stream, plan, 'client')
    this.talkers.push(talker)
    talker.start()
    // Some are given up by whoever opened them.
    const givenUp = new TunnelError('ABORTED', 'given up', { hop: 'link' })
    if (random() >= 0.1) return
    plan.isGivenUp = true
    this.clock.setTimer(() => stream.reset(givenUp), Math.floor(random() * 8_000))
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.random() * list.length)]
  }

  fault(): void {
    const kinds = this.isCluster ? CLUSTER_FAULTS : FAULTS
    const kind = kinds[Math.floor(this.random() ** 1.2 * kinds.length)]!
    this.faults[kind] = (this.faults[kind] ?? 0) + 1
    const client = this.#pick(this.network.linesOf({ role: 'client' }))
    const agent = this.#pick(this.network.linesOf({ role: 'agent' }))
    const mesh = this.isCluster ? this.#pick(this.network.linesOf({ role: 'relay' })) : undefined
    const cut = (...lines: (Line | undefined)[]): void => {
      for (const line of lines) line?.pair.cut()
    }
    switch (kind) {
      case 'cut client':
        return cut(client)
      case 'cut agent':
        return cut(agent)
      case 'cut both':
        return cut(client, agent)
      case 'cut all':
        return cut(...this.network.linesOf({}))
      case 'cut mesh':
        return cut(mesh)
      case 'freeze mesh':
        return mesh?.pair.freeze()
      case 'freeze mesh one way':
        if (mesh !== undefined) mesh.pair[this.random() < 0.5 ? 'a' : 'b'].frozen = true
        return
      case 'freeze client':
        return client?.pair.freeze()
      case 'freeze agent':
        return agent?.pair.freeze()
      case 'move client':
        // Make before break: the new link carries the streams before the old one goes.
        return client?.proxy.sendClientsAway()
      case 'check':
        // A computer that wakes, or whose address changes.
        return this.#pick([this.client.connection, ...this.machine.connections])?.check()
      case 'kill proxy':
      case 'drain proxy':
        return this.#endProxy(kind === 'kill proxy')
    }
  }

  #endProxy(kills: boolean): void {
    const url = this.#pick(this.urls.filter((each) => this.network.proxies.get(each)?.draining === false))
    const proxy = url === undefined ? undefined : this.network.proxies.get(url)
    if (url === undefined || proxy === undefined) return
    const awayMs = Math.floor(this.random() ** 2 * 4_000)
    const again = (untilMs: number): void => {
      this.#said.set(proxy.id, { url, untilMs })
      this.network.proxies.delete(url)
      this.clock.setTimer(() => void this.startProxy(url), awayMs)
    }
    if (kills) {
      proxy.kill()
      again(this.clock.now() + RECORD_MS)
    } else void proxy.drain(Math.floor(this.random() * 15_000)).then(() => again(0))
  }

  /** Client and agent leave. */
  async end(): Promise<void> {
    const left = new TunnelError('ABORTED', 'the simulation is over', { hop: 'link' })
    const ends = [this.client.end(left), ...this.machine.connections.map((connection) => connection.close())]
    this.machine.acceptor.close(left)
    for (const { killed, replica } of this.proxies) if (!killed) replica?.close()
    await this.clock.run(this.clock.now() + 10_000)
    await Promise.all(ends)
  }
}
