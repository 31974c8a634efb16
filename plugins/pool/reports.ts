import type { Line } from './line.ts'
import type { Place, PooledConnection } from './place.ts'

/** One SSH connection of a user, as an operator sees it. */
export interface ConnectionReport {
  machine: string
  /** The machine's. */
  owner: string
  state: 'connecting' | 'idle' | 'busy'
  channels: number
  /** As many as the machine's sshd is known to take, at most `channelsPerConnection`. */
  maxChannels: number
  /** Since it was made, in ms; 0 while it is not. */
  ageMs: number
  /** It has grown old, and goes when its last channel has. */
  isOld: boolean
}

/** Requests of a user that wait for a channel to one machine. */
export interface WaitReport {
  machine: string
  owner: string
  requests: number
}

/** What a user has in the pool, and waits for. */
export interface PoolReport {
  connections: ConnectionReport[]
  waits: WaitReport[]
}

export function reportOf<Connection extends PooledConnection>(
  lines: Iterable<Line<Connection>>,
  nowMs: number,
): PoolReport {
  const report: PoolReport = { connections: [], waits: [] }
  for (const { route, places, waiting: requests } of lines) {
    const machine = { machine: route.name, owner: route.owner }
    for (const place of places) report.connections.push({ ...machine, ...connectionOf(place, nowMs) })
    if (requests > 0) report.waits.push({ ...machine, requests })
  }
  return report
}

function connectionOf<Connection extends PooledConnection>(
  { state, leases: channels, capacity: maxChannels, sinceMs, isOld }: Place<Connection>,
  nowMs: number,
): Omit<ConnectionReport, 'machine' | 'owner'> {
  const ageMs = sinceMs === undefined ? 0 : Math.round(nowMs - sinceMs)
  return { state, channels, maxChannels, ageMs, isOld }
}
