import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { toWire } from '../../plugins/cluster/messages.ts'
import { startRoundRobin } from '../../test/chaos/cluster/balancer.ts'
import { Fleet } from '../../test/chaos/cluster/fleet.ts'
import { commands, runStorm } from '../../test/chaos/cluster/storm.ts'
import { pause } from '../../test/chaos/schedule.ts'
import { processFacts } from '../../test/support/proc.ts'
import { drop, listenTcp } from '../../test/support/proxy.ts'
import { Cleanup } from '../../test/support/scope.ts'
import { MACHINE } from '../../test/support/topology.ts'
import type { Constants } from './constants.ts'

const REPLICAS = 2
const REST_SECONDS = 30
const OPENS = 500

/** A storm of so many agents, with a replica beside it that only hears of them; then replicas at rest, and streams. */
export async function measureScale(agents: number, progress: (text: string) => void): Promise<Constants> {
  const scope = new Cleanup()
  const storm = await runStorm(scope, agents, progress, { bystander: true }).finally(() => scope.close())
  const { bystander } = storm
  if (bystander === undefined) throw new Error('no replica was beside')
  return {
    // Without telling the third replica, which takes as long as hearing.
    linkCpuMs: storm.cpuMsPerLink - bystander.cpuMsPerLink,
    linkResidentBytes: storm.residentPerLink,
    linkRedisCommands: storm.redisCommandsPerLink,
    linkRedisCpuMs: storm.redisCpuMsPerLink,
    presenceCpuMs: bystander.cpuMsPerLink,
    presenceResidentBytes: bystander.residentPerLink,
    presenceFrameBytes: presenceBytes(),
    ...(await measureStreams(progress)),
  }
}

function presenceBytes(): number {
  const program = { instance: '0123456789abcdef0123456789abcdef', epoch: 1_000 }
  const agents = [{ owner: 'alice@example.com', name: 'workstation-1', program }]
  return JSON.stringify(toWire({ is: 'present', agents })).length
}

async function measureStreams(progress: (text: string) => void) {
  const scope = new Cleanup()
  try {
    const fleet = await Fleet.start(scope, REPLICAS, { balancer: await startRoundRobin(scope) })
    await fleet.untilMetric('tunnel_cluster_replicas', REPLICAS * REPLICAS)
    progress(`replicas rest for ${REST_SECONDS} s`)
    const atRest = await commands(fleet)
    await pause(REST_SECONDS * 1_000, new AbortController().signal)
    const perSecond = ((await commands(fleet)) - atRest) / REST_SECONDS

    const urls = fleet.replicas.map(({ port }) => `http://127.0.0.1:${port}`)
    // An agent waits for the greeting of a server that says nothing.
    const ssh = await listenTcp(scope, (socket) => socket.on('error', () => {}).write('SSH-2.0-scale\r\n'))
    const settings = resolveSettings({}, 'default')
    const agent = new Agent({ urls, machine: MACHINE, token: fleet.token, ssh, settings })
    scope.after(() => agent.close())
    await agent.start()
    const client = new TunnelService({ url: urls, token: fleet.token })
    scope.after(() => client.disconnect(0))
    await client.connect()
    const cpuMs = () =>
      fleet.replicas.reduce((sum, { program }) => sum + processFacts(program.pid)!.cpuSeconds * 1_000, 0)
    progress(`${OPENS} streams`)
    const [commandsBefore, cpuBefore, beganMs] = [await commands(fleet), cpuMs(), performance.now()]
    for (let open = 0; open < OPENS; open++) drop(await client.open({ machine: MACHINE, kind: 'ssh' }))
    const rested = (perSecond * (performance.now() - beganMs)) / 1_000
    return {
      restRedisCommands: perSecond / REPLICAS,
      openRedisCommands: ((await commands(fleet)) - commandsBefore - rested) / OPENS,
      openCpuMs: (cpuMs() - cpuBefore) / OPENS,
    }
  } finally {
    await scope.close()
  }
}
