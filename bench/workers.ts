import { startRedis } from '../test/support/redis.ts'
import type { Scope } from '../test/support/scope.ts'
import { MACHINE, startTopology } from '../test/support/topology.ts'
import type { Job, SealedRoute } from './load.ts'
import { measure, NO_RATE_LIMIT, smaller, startLoad, startWeb } from './measure.ts'
import { type CaseReport, type Sample, summarise } from './report.ts'

export interface WorkersOptions {
  workers: number
  /** Each with a link of its own, and with an answer at once. */
  clients: number
  /** Over all clients. */
  byteCount: number
  requests: number
  connections: number
  rounds: number
  /** Told of each finished run. */
  progress?: (text: string) => void
}

/** `tunnel server --workers N` beside one process, interleaved: sealed streams of several clients to one agent. */
export async function measureWorkers(scope: Scope, options: WorkersOptions): Promise<CaseReport[]> {
  const { workers, rounds } = options
  const webPort = await startWeb(scope)
  const one = await startSide(scope, webPort, options)
  const several = await startSide(scope, webPort, options, workers)
  const cases = (['bulk', 'small'] as const).flatMap((kind) => [
    { kind, name: `one process, ${kind}`, side: one, samples: [] as Sample[] },
    { kind, name: `${workers} workers, ${kind}`, side: several, samples: [] as Sample[] },
  ])
  // The round before the first warms every path up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (let index = 0; index < cases.length; index++) {
      const { name, kind, side, samples } = cases[(index + round) % cases.length]!
      const job = side.jobs[kind]
      const sample = await measure(side.load, round === 0 ? smaller(job) : job, side.parties)
      if (round > 0) samples.push(sample)
      options.progress?.(`round ${round}/${rounds} ${name}: ${sample.seconds.toFixed(2)} s`)
    }
  }
  const reports: CaseReport[] = []
  for (const { name, kind, samples } of cases) {
    const reference = reports.find((report) => report.kind === kind)
    reports.push(summarise(name, kind, samples, reference))
  }
  return reports
}

/** A proxy of one process, or of so many workers, with all that belongs to it. */
async function startSide(scope: Scope, webPort: number, options: WorkersOptions, workers?: number) {
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
  const jobs: Record<'bulk' | 'small', Job> = {
    bulk: { kind: 'bulk', route, byteCount: Math.ceil(byteCount / clients), answers: clients },
    small: { kind: 'small', route, requests, connections },
  }
  return { load, jobs, parties: { load: load.pid ?? 0, proxy: proxy.pid, agent: agent.pid } }
}
