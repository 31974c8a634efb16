import { pause } from '../schedule.ts'
import type { Balancer } from './balancer.ts'
import type { Fleet, Replica } from './fleet.ts'

export interface ClusterFaultContext {
  fleet: Fleet
  balancer: Balancer
  /** In [0, 1), the same for the same seed. */
  random: () => number
  /** A few seconds in all, for `npm test`. */
  short: boolean
  signal: AbortSignal
  /** One fault is over: waits until every session goes on, and takes down how long they stood. */
  settled(): Promise<void>
}

/** What the longest echo of a session may be over all sessions and faults, and a new stream, in ms; see `beyond`. */
export interface Bound {
  p95?: number
  p99?: number
  max?: number
  open?: number
}

export interface ClusterFault {
  name: string
  does: string
  /** How often, in a full run and in a short one. */
  times: { full: number; short: number }
  bound: Bound
  act(context: ClusterFaultContext): Promise<void>
}

const REPLICAS = 3
const DROP_EVERY_MS = 5_000
const REDIS_AWAY_MS = { full: 60_000, short: 3_000 }
/** Longer than replicas take to give up on a silent link. */
const MESH_CUT_MS = { full: 8_000, short: 3_500 }
const LOOK_MS = 5_000
const QUIET_MS = { full: LOOK_MS, short: 2_000 }

export const QUIET: ClusterFault = {
  name: 'quiet',
  does: 'nothing happens for five seconds: what it takes then is left out of the bounds',
  times: { full: 2, short: 1 },
  bound: {},
  async act({ short, signal, settled }) {
    await pause(QUIET_MS[short ? 'short' : 'full'], signal)
    await settled()
  },
}

export const ROLL: ClusterFault = {
  name: 'roll',
  does: 'every replica is replaced in turn: another one is started, then it gets SIGTERM',
  times: { full: 20, short: 1 },
  bound: { p99: 250 },
  act: ({ fleet, settled }) => fleet.roll(settled),
}

const kill: ClusterFault = {
  name: 'kill',
  does: 'a random replica gets SIGKILL; another one is started afterwards',
  times: { full: 10, short: 2 },
  bound: { p95: 1_000, max: 3_000 },
  async act({ fleet, random, settled }) {
    await fleet.remove(anyOf(fleet.replicas, random), 'SIGKILL')
    await settled()
    await fleet.add()
  },
}

const drops: ClusterFault = {
  name: 'drops',
  does: 'the balancer drops every connection, each five seconds',
  times: { full: 12, short: 1 },
  bound: {},
  async act({ balancer, short, signal, settled }) {
    const next = pause(short ? 0 : DROP_EVERY_MS, signal)
    await balancer.reload()
    await settled()
    await next
  },
}

const scale: ClusterFault = {
  name: 'scale',
  does: 'three replicas become one, then five, then one, then three',
  times: { full: 1, short: 1 },
  bound: {},
  async act({ fleet, short, settled }) {
    for (const size of short ? [1, REPLICAS] : [1, 5, 1, REPLICAS]) {
      await fleet.resize(size)
      await settled()
    }
  },
}

const redisFrozen: ClusterFault = {
  name: 'redis-frozen',
  does: 'Redis is stopped for a minute (SIGSTOP), and goes on',
  times: { full: 1, short: 1 },
  bound: {},
  async act({ fleet, short, signal, settled }) {
    const { program } = fleet.redis
    program.kill('SIGSTOP')
    try {
      const untilMs = performance.now() + REDIS_AWAY_MS[short ? 'short' : 'full']
      while (performance.now() < untilMs && !signal.aborted) {
        await pause(Math.min(LOOK_MS, untilMs - performance.now()), signal)
        await settled()
      }
    } finally {
      program.kill('SIGCONT')
    }
    await settled()
  },
}

const redisWiped: ClusterFault = {
  name: 'redis-wiped',
  does: 'Redis gets SIGKILL and comes back empty',
  times: { full: 2, short: 1 },
  bound: {},
  async act({ fleet, short, signal, settled }) {
    await fleet.redis.restart()
    await pause(short ? 0 : LOOK_MS, signal)
    await settled()
  },
}

/** Each link between two of three, by the one that is dialled, and each way. */
const CUTS = [[], ['up'], ['down']] as const

const meshCut: ClusterFault = {
  name: 'mesh-cut',
  does: 'links between two replicas say nothing any more, in both directions, then in one, then in the other',
  times: { full: 2, short: 1 },
  bound: { max: 3_000, open: 3_000 },
  async act({ fleet, short, signal, settled }) {
    for (const directions of short ? CUTS.slice(0, 1) : CUTS) {
      // The second was dialled by the first alone.
      const { relay } = fleet.replicas[1]!
      relay.freeze(...directions)
      try {
        await pause(MESH_CUT_MS[short ? 'short' : 'full'], signal)
        await settled()
      } finally {
        relay.thaw()
      }
      await fleet.untilMetric('tunnel_cluster_replicas', REPLICAS * REPLICAS)
      await settled()
    }
  },
}

function anyOf(replicas: readonly Replica[], random: () => number): Replica {
  return replicas[Math.floor(random() * replicas.length)]!
}

/** In the order in which they come. Each leaves three replicas behind. */
export const CLUSTER_FAULTS: readonly ClusterFault[] = [
  QUIET,
  ROLL,
  kill,
  drops,
  scale,
  redisFrozen,
  redisWiped,
  meshCut,
]
