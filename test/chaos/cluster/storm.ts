import { percentile } from '../../support/percentile.ts'
import { processFacts } from '../../support/proc.ts'
import type { Program } from '../../support/process.ts'
import type { Scope } from '../../support/scope.ts'
import { pause } from '../schedule.ts'
import { startRoundRobin } from './balancer.ts'
import { Crowd } from './crowd.ts'
import { Echo } from './echo.ts'
import { Fleet, metric } from './fleet.ts'

interface Times {
  p50: number
  p95: number
  max: number
}

export interface StormReport {
  links: number
  /** From the cut until each was back, in ms. */
  backMs: Times
  /** Of a stream that stood, typed into all the time: its echoes before the cut and while the others came back, in ms. */
  echoMs: { before: Times; during: Times }
  /** How late the event loop of a replica was while all came back, at most, on average over a second, in ms. */
  lagMs: number
  /** Of both replicas, while all came back, in seconds; and for one link, in ms. */
  cpuSeconds: number
  cpuMsPerLink: number
  /** Of the agents, for one link, in ms. */
  callerCpuMsPerLink: number
  /** Of one replica for each link at rest, in bytes; agents of the other are in it. */
  residentPerLink: number
  redisCommandsPerLink: number
  redisCpuMsPerLink: number
  /** A replica without links, which only hears of the agents; what each link is to it. */
  bystander?: Pick<StormReport, 'cpuMsPerLink' | 'residentPerLink'>
}

const REPLICAS = 2
const BEFORE_MS = 5_000
const PATIENCE_MS = 120_000
/** How often is looked whether all are back, in ms: whoever looks takes a core from them. */
const LOOK_MS = 250

/** Agents with a link to each of two replicas all lose them at once. */
export async function runStorm(
  scope: Scope,
  agents: number,
  progress: (text: string) => void,
  { bystander = false } = {},
): Promise<StormReport> {
  const size = bystander ? REPLICAS + 1 : REPLICAS
  const fleet = await Fleet.start(scope, size, { balancer: await startRoundRobin(scope) })
  await fleet.untilMetric('tunnel_cluster_replicas', size * size)
  const urls = fleet.replicas.slice(0, REPLICAS).map(({ port }) => `http://127.0.0.1:${port}`)
  const { token } = fleet
  const sum = (values: number[]) => values.reduce((total, each) => total + each, 0)
  const factsOf = (programs: readonly Program[]) => {
    const facts = programs.map(({ pid }) => processFacts(pid)!)
    return {
      cpuSeconds: sum(facts.map(({ cpuSeconds }) => cpuSeconds)),
      residentBytes: sum(facts.map(({ residentBytes }) => residentBytes)),
    }
  }
  const facts = () => {
    const programs = fleet.replicas.map(({ program }) => program)
    const [own, beside] = [programs.slice(0, REPLICAS), programs.slice(REPLICAS)]
    return { own: factsOf(own), beside: factsOf(beside), redis: factsOf([fleet.redis.program]) }
  }

  const echo = await Echo.start(scope, { urls, token })
  const empty = facts()
  progress(`${agents} agents come`)
  const crowd = await Crowd.start(scope, { agents, urls, token })
  const links = agents * REPLICAS
  progress(`${links} links stand`)
  const full = facts()

  await echo.take()
  await pause(BEFORE_MS, AbortSignal.timeout(BEFORE_MS))
  const before = await echo.take()
  const commandsBefore = await commands(fleet)
  const cut = facts()
  const callersCut = crowd.cpuSeconds
  progress('all are cut at once')
  crowd.cut()
  let backMs: number[] = []
  let lagMs = 0
  const lateMs = performance.now() + PATIENCE_MS
  while (backMs.length < links) {
    if (performance.now() > lateMs) throw new Error(`${backMs.length} of ${links} links were back in time`)
    await pause(LOOK_MS, AbortSignal.timeout(LOOK_MS))
    lagMs = Math.max(lagMs, await longestLag(fleet))
    backMs = (await crowd.report()).backMs
  }
  progress('all are back')
  const during = await echo.take()
  const back = facts()
  const callersBack = crowd.cpuSeconds
  const cpuSeconds = back.own.cpuSeconds - cut.own.cpuSeconds
  const ofLinks = (who: keyof typeof back) => ({
    cpuMsPerLink: ((back[who].cpuSeconds - cut[who].cpuSeconds) * 1_000) / links,
    residentPerLink: (full[who].residentBytes - empty[who].residentBytes) / links,
  })
  return {
    links,
    backMs: timesOf(backMs),
    echoMs: { before: timesOf(before), during: timesOf(during) },
    lagMs,
    cpuSeconds,
    ...ofLinks('own'),
    callerCpuMsPerLink: ((callersBack - callersCut) * 1_000) / links,
    redisCommandsPerLink: ((await commands(fleet)) - commandsBefore) / links,
    redisCpuMsPerLink: ofLinks('redis').cpuMsPerLink,
    ...(bystander && { bystander: ofLinks('beside') }),
  }
}

function timesOf(values: readonly number[]): Times {
  return { p50: percentile(values, 0.5), p95: percentile(values, 0.95), max: percentile(values, 1) }
}

async function longestLag({ replicas }: Fleet): Promise<number> {
  const seconds = replicas.map((replica) => metric(replica, 'tunnel_event_loop_lag_seconds'))
  return Math.max(...(await Promise.all(seconds))) * 1_000
}

/** That Redis has been sent since it was started. */
export async function commands({ redis }: Fleet): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.admin.info('stats'))?.[1])
}
