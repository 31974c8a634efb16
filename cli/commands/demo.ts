import { type CommonOptions, command, parse } from '../command.ts'
import type { Definition } from '../definition.ts'
import {
  cutAndResume,
  healthAndMetrics,
  httpRequest,
  remoteCommand,
  sealedShell,
  transfer,
} from '../demo/acts.ts'
import { rollingRestart, whoHasWhom } from '../demo/cluster-acts.ts'
import { ClusterScene } from '../demo/cluster-scene.ts'
import { Narrator } from '../demo/narrator.ts'
import { redisProgram } from '../demo/redis.ts'
import { Scene } from '../demo/scene.ts'
import { Stage } from '../demo/stage.ts'
import { EXIT } from '../failure.ts'
import { calledAs } from '../self.ts'

interface DemoFlags extends CommonOptions {
  embedded?: boolean
  cluster?: boolean
}

export const definition: Definition = {
  name: 'demo',
  does: [
    'The whole job on this machine, with nothing set up: an SSH server, a web service, the proxy and an agent are',
    'started in a temporary folder, used, cut, resumed, and removed again. Takes less than 30 s.',
  ].join(' '),
  examples: ['tunnel demo', 'tunnel demo --cluster'],
  reaches: false,
  options: [
    { flags: '--embedded', does: "use ssh2's own SSH server and client, even where OpenSSH is installed" },
    {
      flags: '--cluster',
      does: 'instead, three proxies behind a balancer, each of which is replaced while ssh runs; needs redis-server',
    },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  return play(made.opts<DemoFlags>())
}

async function play({ embedded = false, cluster = false, json = false }: DemoFlags): Promise<number> {
  const show = cluster ? clusterShow(embedded) : wholeShow(embedded)
  const stage = new Stage()
  const say = new Narrator(json)
  const interrupted = new Promise<number>((resolve) => {
    const statuses = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
    for (const [signal, status] of Object.entries(statuses)) process.on(signal, () => resolve(status))
  })
  try {
    const status = await Promise.race([perform(show, stage, say), interrupted])
    if (json) process.stdout.write(`${JSON.stringify({ ok: status === EXIT.ok, findings: say.findings })}\n`)
    return status
  } finally {
    say.silence()
    await stage.close()
  }
}

interface Show {
  title: string
  play(stage: Stage, say: Narrator): Promise<void>
  /** What a person may want to do who has seen it. */
  next: string
}

async function perform({ title, play, next }: Show, stage: Stage, say: Narrator): Promise<number> {
  const began = performance.now()
  say.title(`${title}\n`)
  try {
    await play(stage, say)
  } catch (error) {
    say.failed(error instanceof Error ? error.message : String(error))
  }
  const took = `${((performance.now() - began) / 1_000).toFixed(0)} s`
  if (say.failures > 0) {
    say.line(`\n${say.failures} of the steps failed (${took}).`)
    return EXIT.failure
  }
  say.title(`\nAll of it worked, in ${took}; nothing is left behind. Now on your own machines:`)
  say.line(next)
  return EXIT.ok
}

function wholeShow(embedded: boolean): Show {
  const tunnel = calledAs()
  const where = tunnel === 'tunnel' ? '' : ', typed in this folder'
  return {
    title: 'tunnel demo: reach a machine behind NAT with your own ssh, all of it on this machine',
    async play(stage, say) {
      const scene = await Scene.build(stage, say, embedded)
      const acts = [sealedShell, httpRequest, remoteCommand, transfer, cutAndResume, healthAndMetrics]
      for (const act of acts) await act(scene, say)
    },
    next: `
  on the proxy's host    ${tunnel} server
  on the machine         ${tunnel} agent --machine home
  anywhere               ${tunnel} ssh home

On one host these three need nothing else${where}; the README tells about tokens and other hosts.`,
  }
}

/** @throws {LocalError} REDIS_MISSING */
function clusterShow(embedded: boolean): Show {
  const redis = redisProgram()
  return {
    title: 'tunnel demo --cluster: every proxy is replaced while your ssh runs',
    async play(stage, say) {
      const scene = await ClusterScene.build(stage, say, embedded, redis)
      for (const act of [whoHasWhom, rollingRestart, whoHasWhom]) await act(scene, say)
    },
    next: `
  docs/CLUSTER.md    what each replica needs
  deploy/            Kubernetes, Docker Compose, nginx and HAProxy`,
  }
}
