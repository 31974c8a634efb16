import { Agent } from '../../../agent/index.ts'
import { TunnelService } from '../../../client/index.ts'
import { resolveSettings } from '../../../client/settings.ts'
import { percentile } from '../../support/percentile.ts'
import { processFacts } from '../../support/proc.ts'
import type { Program } from '../../support/process.ts'
import { drop, listenTcp, until } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { MACHINE } from '../../support/topology.ts'
import { pause } from '../schedule.ts'
import { startRoundRobin } from './balancer.ts'
import { Crowd } from './crowd.ts'
import { Fleet } from './fleet.ts'

export interface StormReport {
  links: number
  /** From the cut until each was back, in ms. */
  backMs: { p50: number; p95: number; max: number }
  /** Of a stream that stood, typed into every `TYPE_MS`: its echoes before the cut and while the others came back, in ms. */
  echoP95Ms: { before: number; during: number }
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
const TYPE_MS = 50
const BEFORE_MS = 5_000
const PATIENCE_MS = 120_000

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

  const echo = await echoing(scope, urls, token)
  const empty = facts()
  progress(`${agents} agents come`)
  const crowd = await Crowd.start(scope, { agents, urls, token })
  const links = agents * REPLICAS
  progress(`${links} links stand`)
  const full = facts()

  await pause(BEFORE_MS, AbortSignal.timeout(BEFORE_MS))
  const before = percentile(echo.take(), 0.95)
  const commandsBefore = await commands(fleet)
  const cut = facts()
  const callersCut = crowd.cpuSeconds
  crowd.cut()
  let backMs: number[] = []
  await until(async () => {
    backMs = (await crowd.report()).backMs
    return backMs.length >= links
  }, PATIENCE_MS)
  const during = percentile(echo.take(), 0.95)
  const back = facts()
  const callersBack = crowd.cpuSeconds
  const cpuSeconds = back.own.cpuSeconds - cut.own.cpuSeconds
  const ofLinks = (who: keyof typeof back) => ({
    cpuMsPerLink: ((back[who].cpuSeconds - cut[who].cpuSeconds) * 1_000) / links,
    residentPerLink: (full[who].residentBytes - empty[who].residentBytes) / links,
  })
  return {
    links,
    backMs: { p50: percentile(backMs, 0.5), p95: percentile(backMs, 0.95), max: percentile(backMs, 1) },
    echoP95Ms: { before, during },
    cpuSeconds,
    ...ofLinks('own'),
    callerCpuMsPerLink: ((callersBack - callersCut) * 1_000) / links,
    redisCommandsPerLink: ((await commands(fleet)) - commandsBefore) / links,
    redisCpuMsPerLink: ofLinks('redis').cpuMsPerLink,
    ...(bystander && { bystander: ofLinks('beside') }),
  }
}

/** That Redis has been sent since it was started. */
export async function commands({ redis }: Fleet): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.admin.info('stats'))?.[1])
}

/** A stream to an agent that keeps its links, and how long each echo on it took. */
async function echoing(scope: Scope, urls: string[], token: string): Promise<{ take(): number[] }> {
  const ssh = await listenTcp(scope, (socket) => socket.pipe(socket))
  const settings = resolveSettings({}, 'default')
  const agent = new Agent({ urls, machine: MACHINE, token, ssh, settings })
  scope.after(() => agent.close())
  await agent.start()
  const client = new TunnelService({ url: urls, token })
  scope.after(() => client.disconnect(0))
  await client.connect()
  const stream = await client.open({ machine: MACHINE, kind: 'ssh' })
  stream.on('error', () => {}) // Told by echoes that do not come.
  let echoesMs: number[] = []
  const typedMs: number[] = []
  stream.on('data', (bytes: Buffer) => {
    for (const _ of bytes) echoesMs.push(performance.now() - (typedMs.shift() ?? 0))
  })
  const timer = setInterval(() => {
    typedMs.push(performance.now())
    stream.write('.')
  }, TYPE_MS)
  scope.after(() => {
    clearInterval(timer)
    drop(stream)
  })
  return {
    take() {
      const taken = echoesMs
      echoesMs = []
      return taken
    },
  }
}
