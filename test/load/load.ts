import { programWords } from '../support/compiled.ts'
import { liveBytes } from '../support/memory.ts'
import { processFacts } from '../support/proc.ts'
import { spawnProgram } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { MACHINE, startTopology, type Topology } from '../support/topology.ts'
import type { Outcome } from './steady.ts'

/** What the process of the callers is asked to do. */
export type Job =
  | { do: 'connect'; url: string; token: string; count: number }
  | { do: 'direct'; port: number; perSecond: number; seconds: number }
  | { do: 'links'; machine: string; port: number; perSecond: number; seconds: number }

export interface LoadReport {
  direct: Outcome
  links: Outcome
  /** What the links hold at the proxy, at rest: V8's heap and what is outside of it, and of the whole process. */
  liveBytes: number
  residentBytes: number
  /** The proxy's, while requests came through it. */
  cores: number
}

export interface LoadOptions {
  links: number
  perSecond: number
  seconds: number
  /** How long requests come before anything is measured: code is loaded, and compiled for a proxy that runs for long. */
  warmUpSeconds: number
  /** Further settings of the proxy. */
  set?: string[]
}

/** A proxy, an agent, sshd, a web service and its callers as processes of one computer. */
export async function runLoad(scope: Scope, options: LoadOptions): Promise<LoadReport> {
  const { links, perSecond, seconds, warmUpSeconds, set = [] } = options
  const web = spawnProgram(scope, process.execPath, programWords('bench/web.ts'))
  const port = Number((await web.line(/^port (\d+)$/))[1])
  const topology = await startTopology(scope, {
    inspected: true,
    tellsMemory: true,
    allow: [`127.0.0.1:${port}`],
    // What is measured is what a proxy can carry, and not what one user or address may have.
    set: [
      ...['rateLimit.perIpPerMinute=1000000', 'server.socketsPerIp=100000'],
      'rateLimit.tiers.enterprise={"perMinute":10000000,"burst":10000000}',
      'tiers.enterprise.budgetBytes=1073741824',
      ...set,
    ],
  })
  const { url, token, proxy } = topology
  const perform = startCaller(scope, topology)
  const through = { do: 'links' as const, machine: MACHINE, port }
  await perform({ do: 'connect', url, token, count: 1 })
  await perform({ ...through, perSecond, seconds: warmUpSeconds })
  const before = await memoryOf(topology)
  await perform({ do: 'connect', url, token, count: links - 1 })
  const after = await memoryOf(topology)
  const direct = await perform({ do: 'direct', port, perSecond, seconds: Math.min(seconds, 10) })
  const cpuSeconds = (): number => processFacts(proxy.pid)?.cpuSeconds ?? 0
  const usedSeconds = cpuSeconds()
  const carried = await perform({ ...through, perSecond, seconds })
  return {
    direct,
    links: carried,
    liveBytes: after.live - before.live,
    residentBytes: after.resident - before.resident,
    cores: (cpuSeconds() - usedSeconds) / seconds,
  }
}

/** The process of the callers, for one job after the other. */
function startCaller(scope: Scope, { env }: Topology): (job: Job) => Promise<Outcome> {
  const words = programWords('test/load/caller.ts')
  const caller = spawnProgram(scope, process.execPath, words, { env, stdin: 'pipe' })
  let jobs = 0
  return async (job) => {
    caller.write(`${JSON.stringify(job)}\n`)
    const [, outcome = ''] = await caller.line(new RegExp(`^job ${++jobs}: (.*)$`))
    return JSON.parse(outcome) as Outcome
  }
}

async function memoryOf({ proxy }: Topology): Promise<{ live: number; resident: number }> {
  const live = await liveBytes(proxy)
  return { live, resident: processFacts(proxy.pid)?.residentBytes ?? 0 }
}
