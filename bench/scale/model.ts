import type { Constants } from './constants.ts'
import { comeBack, type Return } from './storm.ts'

export interface Fleet {
  agents: number
  /** That are there: each has a link, and opens `OPENS_PER_MINUTE` streams. */
  users: number
  /** Each with a core. */
  replicas: number
}

export interface Forecast extends Fleet {
  linksPerReplica: number
  /** Of one replica, without what streams hold. */
  memoryBytes: number
  /** What a replica that starts is told. */
  snapshotBytes: number
  /** Of all replicas from day to day, a second. */
  redisCommands: number
  /** Of one replica, for the streams that users open. */
  openCores: number
  /** When one replica has died, until its links are at the others. */
  oneLost: Return
  storm: Storm
}

/** All links are cut at once. */
export interface Storm extends Return {
  /** Links a second that the cores of the replicas can take, and that Redis' one can: the smaller number counts. */
  replicaLinks: number
  redisLinks: number
  /** A second. */
  redisCommands: number
  /** Of a replica's work the share that is hearing of agents elsewhere. */
  presenceShare: number
  /** What all replicas tell each other, in bytes. */
  meshBytes: number
}

/** Assumed, not measured. */
const OPENS_PER_MINUTE = 1
const HOMES = 2

export function forecast(fleet: Fleet, constants: Constants): Forecast {
  const { agents, users, replicas } = fleet
  const homes = agents * Math.min(HOMES, replicas)
  const links = homes + users
  const linksPerReplica = links / replicas
  const knownPerReplica = (homes * (replicas - 1)) / replicas
  // Each link was measured with an agent that is known from elsewhere.
  const furtherKnown = Math.max(0, knownPerReplica - linksPerReplica)
  const opensPerSecond = (users * OPENS_PER_MINUTE) / 60
  // To tell one other replica of an agent is in what its link was measured with; each further one has to hear it, and
  // to tell it takes as long.
  const furtherTold = (Math.max(0, replicas - 2) * 2 * homes) / links
  const presenceCpuMs = furtherTold * constants.presenceCpuMs
  const linkCpuMs = constants.linkCpuMs + presenceCpuMs
  const redisLinks = 1_000 / constants.linkRedisCpuMs
  const taking = (count: number) => (count * 1_000) / linkCpuMs
  const oneLost = comeBack(linksPerReplica, Math.min(redisLinks, taking(Math.max(1, replicas - 1))))
  return {
    ...{ ...fleet, linksPerReplica, oneLost },
    memoryBytes:
      linksPerReplica * constants.linkResidentBytes + furtherKnown * constants.presenceResidentBytes,
    snapshotBytes: knownPerReplica * constants.presenceFrameBytes,
    redisCommands: replicas * constants.restRedisCommands + opensPerSecond * constants.openRedisCommands,
    openCores: (opensPerSecond * constants.openCpuMs) / 1_000 / replicas,
    storm: {
      ...comeBack(links, Math.min(redisLinks, taking(replicas))),
      ...{ redisLinks, replicaLinks: taking(replicas), presenceShare: presenceCpuMs / linkCpuMs },
      redisCommands: Math.min(redisLinks, taking(replicas)) * constants.linkRedisCommands,
      meshBytes: homes * (replicas - 1) * constants.presenceFrameBytes,
    },
  }
}
