import { percentile } from '../../support/percentile.ts'
import { descendants } from '../../support/proc.ts'
import { until } from '../../support/proxy.ts'
import { seededRandom } from '../../support/random.ts'
import type { Scope } from '../../support/scope.ts'
import type { NetworkNamespace } from '../netns.ts'
import { pause } from '../schedule.ts'
import type { Balancer } from './balancer.ts'
import { Fleet } from './fleet.ts'
import { type Harvest, Load, type LoadOptions } from './load.ts'
import type { Typist } from './typist.ts'

export interface DayOptions extends LoadOptions {
  balancer: Balancer
  /** Where the laptop is, and how often its address changes. Without one it has one address. */
  network: NetworkNamespace | undefined
  /** Sessions on the laptop. */
  laptop: number
  /** How often each comes. */
  rolls: number
  kills: number
  reloads: number
  addresses: number
  sleeps: number
  sleepMs: number
  random: number
  logs?: string | undefined
  progress: (text: string) => void
}

export interface DayReport {
  counts: Record<'rolls' | 'kills' | 'reloads' | 'addresses' | 'sleeps', number>
  /** Of sessions that stay where they are, every `LOOK_MS`: the longest echo of each, in ms. */
  gapMs: { p50: number; p95: number; p99: number; max: number }
  broken: string[]
  failedOpens: string[]
  equal: number
  opens: number
  seconds: number
}

const REPLICAS = 3
const LOOK_MS = 5_000
/** A longer wait is told of when it is seen, in ms. */
const SLOW_MS = 3_000
/** Awake between two sleeps, on average, in ms. */
const AWAKE_MS = 45_000
/** After one event, before the next may come, in ms. */
const BETWEEN_MS = 1_000

/** A day of a fleet in short: deploys without end, and beside them all that else happens, at random moments. */
export async function runDay(scope: Scope, options: DayOptions): Promise<DayReport> {
  const { balancer, signal, progress } = options
  const beganMs = performance.now()
  const fleet = await Fleet.start(scope, REPLICAS, { balancer, logs: options.logs })
  const load = await Load.start(scope, fleet, balancer.url, options)
  const laptop = new Laptop(load, options, fleet.env)
  scope.after(() => laptop.close())
  await laptop.open()
  progress('everybody is there')
  const random = seededRandom(options.random)
  const counts = { rolls: 0, kills: 0, reloads: 0, addresses: 0, sleeps: 0 }
  const harvests: Harvest[] = []
  let over = false

  const looking = (async () => {
    while (!over && !signal.aborted) {
      await pause(LOOK_MS, signal)
      const harvest = load.harvest()
      for (const text of [...harvest.broken, ...harvest.failedOpens]) progress(text)
      const slow = harvest.gapsMs.filter((ms) => ms > SLOW_MS)
      if (slow.length > 0)
        progress(`${slow.length} ssh had no echo for up to ${Math.round(Math.max(...slow))} ms`)
      harvests.push(harvest)
    }
  })()
  const sleeping = (async () => {
    while (counts.sleeps < options.sleeps && !signal.aborted) {
      await pause(AWAKE_MS * (0.5 + random()), signal)
      await laptop.sleep(options.sleepMs, signal)
      progress(`the laptop has slept ${++counts.sleeps} times`)
    }
  })()
  const others: { name: 'kills' | 'reloads' | 'addresses'; act: () => Promise<unknown> }[] = [
    {
      name: 'kills',
      async act() {
        await fleet.remove(fleet.replicas[Math.floor(random() * fleet.replicas.length)]!, 'SIGKILL')
        await fleet.add()
      },
    },
    { name: 'reloads', act: () => balancer.reload() },
    { name: 'addresses', act: async () => await options.network?.changeAddress() },
  ]
  const steps = options.rolls * REPLICAS
  for (let step = 1; step <= steps && !signal.aborted; step++) {
    await fleet.add()
    await fleet.remove(fleet.replicas[0]!, 'SIGTERM')
    if (step % REPLICAS === 0) progress(`${++counts.rolls} rolling restarts`)
    for (const { name, act } of others) {
      // Spread over the deploys, each a little off its place, and none left over at the end.
      const early = step === steps ? 0 : random()
      while (counts[name] < (step / steps) * options[name] - early) {
        progress(`${name} ${++counts[name]}`)
        await act()
        await pause(BETWEEN_MS, signal)
      }
    }
  }
  await sleeping
  over = true
  await looking
  const laptopFaults = await laptop.end()
  harvests.push(await load.end())
  const gapsMs = harvests.flatMap((each) => each.gapsMs)
  return {
    counts,
    gapMs: {
      p50: percentile(gapsMs, 0.5),
      p95: percentile(gapsMs, 0.95),
      p99: percentile(gapsMs, 0.99),
      max: percentile(gapsMs, 1),
    },
    broken: [...harvests.flatMap((each) => each.broken), ...laptopFaults],
    failedOpens: harvests.flatMap((each) => each.failedOpens),
    equal: harvests.reduce((sum, each) => sum + each.equal, 0),
    opens: harvests.reduce((sum, each) => sum + each.opens, 0),
    seconds: Math.round((performance.now() - beganMs) / 1_000),
  }
}

/** Sessions on a computer that sleeps and moves. How long it was away is no gap of the tunnel's. */
class Laptop {
  readonly #load: Load
  readonly #options: DayOptions
  readonly #env: NodeJS.ProcessEnv
  readonly #typists: Typist[] = []

  constructor(load: Load, options: DayOptions, env: NodeJS.ProcessEnv) {
    this.#load = load
    this.#options = options
    this.#env = env
  }

  async open(): Promise<void> {
    const { network, laptop } = this.#options
    const wrap = network && ((command: string, args: readonly string[]) => network.wrap(command, args))
    for (let number = 0; number < laptop; number++) this.#typists.push(this.#load.session(wrap, this.#env))
    await until(() => this.#typists.every((one) => one.isThere || one.fault !== undefined), 60_000)
  }

  /** All of its processes stand still, as when its lid is closed. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const pids = this.#typists.flatMap(({ ssh }) => [ssh.pid, ...descendants(ssh.pid)])
    const tell = (name: NodeJS.Signals) => {
      for (const pid of pids) {
        try {
          process.kill(pid, name)
        } catch {
          // One of them has ended.
        }
      }
    }
    for (const typist of this.#typists) typist.pause()
    tell('SIGSTOP')
    await pause(ms, signal)
    tell('SIGCONT')
    for (const typist of this.#typists) typist.resume()
  }

  /** What has broken, after all have come to their end. */
  async end(): Promise<string[]> {
    await Promise.all(this.#typists.map((typist) => typist.end()))
    return this.#typists.flatMap(({ fault }) => (fault === undefined ? [] : [`laptop's ssh: ${fault}`]))
  }

  close(): void {
    for (const typist of this.#typists) typist.kill()
  }
}
