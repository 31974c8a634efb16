import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { programWords } from '../test/support/compiled.ts'
import { peakResidentBytes, treeCpuSeconds } from '../test/support/proc.ts'
import { Program } from '../test/support/process.ts'
import type { Scope } from '../test/support/scope.ts'
import { sshOptions } from '../test/support/sshd.ts'
import { freePort } from '../test/support/system.ts'
import { MACHINE, startTopology, type Topology } from '../test/support/topology.ts'
import type { Job, Outcome, Route, TunnelRoute } from './load.ts'
import { type BenchReport, type CaseReport, type Sample, summarise } from './report.ts'

export interface BenchOptions {
  byteCount: number
  requests: number
  connections: number
  rounds: number
  profile?: string
  /** Of the cases those whose names hold this, and what they are compared with. */
  only?: string
  /** Told of each finished run. */
  progress?: (text: string) => void
}

interface Case {
  name: string
  kind: CaseReport['kind']
  against?: string
  job: Job
}

/** What is measured is the path, not the limit of a tier. */
export const NO_RATE_LIMIT = 'rateLimit.tiers.enterprise={"perMinute":10000000,"burst":10000000}'

/** Starts the service that is asked, and answers with its port. */
export async function startWeb(scope: Scope): Promise<number> {
  const web = new Program(process.execPath, programWords('bench/web.ts'))
  scope.after(() => web.stop())
  return Number((await web.line(/^port (\d+)$/))[1])
}

/** Starts the load generator. */
export function startLoad(scope: Scope, env: NodeJS.ProcessEnv): ChildProcess {
  const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const
  const load = spawn(process.execPath, programWords('bench/load.ts'), { env, stdio: [...stdio] })
  scope.after(() => load.kill())
  return load
}

/** Runs all cases, interleaved, on one sshd, one web service, one proxy and one agent. */
export async function runBench(scope: Scope, options: BenchOptions): Promise<BenchReport> {
  const webPort = await startWeb(scope)
  const topology = await startTopology(scope, {
    inspected: true,
    allow: [`127.0.0.1:${webPort}`],
    ...(options.profile !== undefined && { profile: options.profile }),
    set: [NO_RATE_LIMIT],
  })
  const direct = await startForward(scope, topology, webPort)
  const sealed = await startForward(scope, topology, webPort, topology.proxyCommand)
  const load = startLoad(scope, topology.env)

  const parties = {
    load: load.pid ?? 0,
    'ssh -L': direct.ssh.pid,
    'ssh -L, stdio': sealed.ssh.pid,
    proxy: topology.proxy.pid,
    agent: topology.agent.pid,
    sshd: topology.sshd.pid,
  }
  const tunnelled = (transport: TunnelRoute['transport']): Route => ({
    tunnel: { url: topology.url, token: topology.token, machine: MACHINE, port: webPort, transport },
  })
  const [inspected, overHttp] = [tunnelled('websocket'), tunnelled('http')]
  const routes = { direct: direct.route, sealed: sealed.route, inspected, overHttp }
  const cases = wanted(casesOf(options, topology, routes), options.only)

  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]))
  // The round before the first warms every path up and is not counted.
  for (let round = 0; round <= options.rounds; round++) {
    for (let index = 0; index < cases.length; index++) {
      const each = cases[(index + round) % cases.length]!
      const sample = await measure(load, round === 0 ? smaller(each.job) : each.job, parties)
      if (round > 0) samples.get(each.name)?.push(sample)
      options.progress?.(`round ${round}/${options.rounds} ${each.name}: ${sample.seconds.toFixed(2)} s`)
    }
  }
  const reports = new Map<string, CaseReport>()
  for (const { name, kind, against } of cases) {
    reports.set(
      name,
      summarise(
        name,
        kind,
        samples.get(name) ?? [],
        against === undefined ? undefined : reports.get(against),
      ),
    )
  }
  return {
    cases: [...reports.values()],
    rounds: options.rounds,
    peakResidentBytes: { proxy: peakResidentBytes(parties.proxy), agent: peakResidentBytes(parties.agent) },
  }
}

/** References come before what is compared with them. */
function casesOf(
  { byteCount, requests, connections }: BenchOptions,
  { sshd, proxyCommand }: Topology,
  routes: Record<'direct' | 'sealed' | 'inspected' | 'overHttp', Route>,
): Case[] {
  const cat = (options: string[]): Job => {
    return { kind: 'program', command: 'ssh', args: [...options, MACHINE, `head -c ${byteCount} /dev/zero`] }
  }
  const bulk = (route: Route): Job => ({ kind: 'bulk', route, byteCount })
  const small = (route: Route): Job => ({ kind: 'small', route, requests, connections })
  return [
    { name: 'ssh', kind: 'bulk', job: cat(sshOptions(sshd)) },
    { name: 'ssh, sealed', kind: 'bulk', against: 'ssh', job: cat(sshOptions(sshd, { proxyCommand })) },
    { name: 'ssh -L, GET', kind: 'bulk', job: bulk(routes.direct) },
    { name: 'ssh -L sealed, GET', kind: 'bulk', against: 'ssh -L, GET', job: bulk(routes.sealed) },
    { name: 'inspected, GET', kind: 'bulk', against: 'ssh -L, GET', job: bulk(routes.inspected) },
    { name: 'HTTP streaming, GET', kind: 'bulk', against: 'inspected, GET', job: bulk(routes.overHttp) },
    { name: 'ssh -L, requests', kind: 'small', job: small(routes.direct) },
    {
      name: 'ssh -L sealed, requests',
      kind: 'small',
      against: 'ssh -L, requests',
      job: small(routes.sealed),
    },
    { name: 'inspected, requests', kind: 'small', against: 'ssh -L, requests', job: small(routes.inspected) },
    {
      name: 'HTTP streaming, requests',
      kind: 'small',
      against: 'inspected, requests',
      job: small(routes.overHttp),
    },
  ]
}

function wanted(cases: Case[], only = ''): Case[] {
  const named = cases.filter(({ name }) => name.includes(only))
  const compared = new Set(named.map(({ against }) => against))
  return cases.filter((each) => named.includes(each) || compared.has(each.name))
}

export function smaller(job: Job): Job {
  if (job.kind === 'small') return { ...job, requests: Math.ceil(job.requests / 10) }
  return job.kind === 'bulk' ? { ...job, byteCount: Math.ceil(job.byteCount / 10) } : job
}

/** A standing `ssh -L` to the web service. */
async function startForward(scope: Scope, topology: Topology, webPort: number, proxyCommand?: string) {
  const port = await freePort()
  const options = sshOptions(topology.sshd, {
    set: ['ExitOnForwardFailure=yes'],
    ...(proxyCommand !== undefined && { proxyCommand }),
  })
  const forward = ['-L', `127.0.0.1:${port}:127.0.0.1:${webPort}`]
  const ssh = new Program('ssh', [...options, ...forward, MACHINE, 'echo ready; exec cat'], {
    env: topology.env,
    stdin: 'pipe',
  })
  scope.after(() => ssh.stop())
  await ssh.line('ready')
  return { ssh, route: { origin: `http://127.0.0.1:${port}` } }
}

/** Has the load generator do the job. @throws {Error} what it said */
export async function measure(
  load: ChildProcess,
  job: Job,
  parties: Record<string, number>,
): Promise<Sample> {
  const used = () => Object.entries(parties).map(([party, pid]) => [party, treeCpuSeconds(pid)] as const)
  const before = new Map(used())
  load.send(job)
  const over = new AbortController()
  const { signal } = over
  const ended = once(load, 'exit', { signal }).then(() => [{ error: 'the load generator ended' }])
  ended.catch(() => {}) // aborted, when the answer came first
  const [outcome] = (await Promise.race([once(load, 'message', { signal }), ended])) as [
    Outcome | { error: string },
  ]
  over.abort()
  if ('error' in outcome) throw new Error(outcome.error)
  const cpuSeconds = Object.fromEntries(
    used().map(([party, after]) => [party, after - (before.get(party) ?? 0)]),
  )
  return { ...outcome, cpuSeconds }
}
