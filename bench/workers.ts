import { startRedis } from '../test/support/redis.ts'
import type { Scope } from '../test/support/scope.ts'
import { MACHINE, startTopology } from '../test/support/topology.ts'
import { type BesideOptions, measureBeside, type Side } from './beside.ts'
import type { SealedRoute } from './load.ts'
import { NO_RATE_LIMIT, startLoad, startWeb } from './measure.ts'
import type { CaseReport } from './report.ts'

export interface WorkersOptions extends BesideOptions {
  workers: number
  /** Each with a link of its own, and with an answer at once. */
  clients: number
  /** Over all clients. */
  byteCount: number
  requests: number
  connections: number
}

/** `tunnel server --workers N` beside one process: sealed streams of several clients to one agent. */
export async function measureWorkers(scope: Scope, options: WorkersOptions): Promise<CaseReport[]> {
  const { workers } = options
  const webPort = await startWeb(scope)
  const one = await startSide(scope, 'one process', webPort, options)
  const several = await startSide(scope, `${workers} workers`, webPort, options, workers)
  return measureBeside([one, several], options)
}

/** A proxy of one process, or of so many workers, with all that belongs to it. */
async function startSide(
  scope: Scope,
  name: string,
  webPort: number,
  options: WorkersOptions,
  workers?: number,
): Promise<Side> {
  const { clients, byteCount, requests, connections } = options
  // Both have their state in Redis: the only difference is to be the processes.
  const { url: redisUrl } = await startRedis(scope)
  const topology = await startTopology(scope, {
    redisUrl,
    allow: [`127.0.0.1:${webPort}`],
    set: [NO_RATE_LIMIT],
    ...(workers !== undefined && { workers }),
  })
  const load = startLoad(scope, topology.env)
  const { url, token, proxy, agent } = topology
  const sealed: SealedRoute = { url, token, machine: MACHINE, port: webPort, clients }
  const route = { sealed }
  const jobs: Side['jobs'] = {
    bulk: { kind: 'bulk', route, byteCount: Math.ceil(byteCount / clients), answers: clients },
    small: { kind: 'small', route, requests, connections },
  }
  return { name, load, jobs, parties: { load: load.pid ?? 0, proxy: proxy.pid, agent: agent.pid } }
}
