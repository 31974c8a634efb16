import type { FastifyInstance } from 'fastify'
import { softwareOf } from '../../dial/software.ts'
import type { AgentHomes } from '../machines/index.ts'
import { isFar } from './clocks.ts'
import type { Mesh } from './mesh.ts'
import type { Peer } from './peer.ts'

/** A replica as another one knows it. */
export interface ReplicaReport {
  id: string
  software: string
  rttMs?: number
  /** Streams that it carries, and those between the two. */
  load: number
  streams: number
  draining: boolean
  /** How far its clock is ahead of that of the replica that was asked, in ms; missing where they agree. */
  clockAheadMs?: number
  /** The replicas to which it has a link, by their ids; missing where it does not say. */
  peers?: string[]
}

/** A machine that is on line somewhere. */
export interface HomesReport {
  owner: string
  name: string
  /** Of the agent's program that has the name. */
  epoch: number
  /** The replicas at which it has a link. */
  homes: string[]
  /** The one of them by which streams from the replica that was asked go. */
  route: string
  /** The third replica by which they go there; missing where there is a link to it. */
  via?: string
}

export interface ClusterReport {
  /** The replica that was asked. */
  id: string
  /** It is one of several processes behind one port, and the next question may come to another. */
  isWorker: boolean
  /** What replicas share answers it. */
  stateAvailable: boolean
  /** It has only started, and is not linked to all others yet. */
  isStarting: boolean
  /** It is the first of them. */
  replicas: ReplicaReport[]
  /** Replicas of which it knows, and to which it has no link, by their ids. */
  missing: string[]
  machines: HomesReport[]
  /** Machines on line, with those that are not in the list. */
  machineCount: number
}

export function describe({ id, link, state }: Peer): ReplicaReport {
  const { rttMs, streamCount: streams, peer } = link
  const { load, draining, peers, aheadMs = 0 } = state
  return {
    ...{ id, software: peer?.software ?? '', load, streams, draining },
    ...(rttMs !== undefined && { rttMs }),
    ...(isFar(aheadMs) && { clockAheadMs: aheadMs }),
    ...(peers !== undefined && { peers: [...peers] }),
  }
}

/** Those of whom `told` or a replica tells, and to which this one has no link. */
export function missingFrom(mesh: Mesh, id: string, told: readonly string[]): string[] {
  const known = new Set(told)
  for (const { state } of mesh.peers) for (const other of state.peers ?? []) known.add(other)
  return [...known].filter((other) => other !== id && !mesh.has(other)).sort()
}

/** Who holds whom. Of more than `maxMachines` the rest are only counted. */
export function overview(
  { machines, state, cluster, forward }: FastifyInstance,
  mesh: Mesh,
  { id, missing, isStarting }: Pick<ClusterReport, 'id' | 'missing' | 'isStarting'>,
  maxMachines: number,
): ClusterReport {
  const homes: HomesReport[] = []
  let machineCount = 0
  for (const agent of machines.agents.everywhere())
    if (++machineCount <= maxMachines) homes.push(homesOf(agent, id))
  const others = [...mesh.peers].map(describe)
  const streams = others.reduce((sum, other) => sum + other.streams, 0)
  const { draining } = mesh.state
  const own: ReplicaReport = {
    ...{ id, software: softwareOf('proxy'), load: forward.overview.held().passages, streams, draining },
    peers: others.map((other) => other.id),
  }
  return {
    id,
    isWorker: cluster?.isWorker === true,
    stateAvailable: state.isAvailable !== false,
    isStarting,
    replicas: [own, ...others],
    missing,
    machines: homes,
    machineCount,
  }
}

function homesOf(
  { owner, name, program, isHere, elsewhere, route, via }: AgentHomes,
  id: string,
): HomesReport {
  return {
    ...{ owner, name, epoch: program.epoch },
    homes: isHere ? [id, ...elsewhere] : elsewhere,
    route: route ?? id,
    ...(via !== undefined && { via }),
  }
}
