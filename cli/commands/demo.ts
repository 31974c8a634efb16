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
import { Narrator } from '../demo/narrator.ts'
import { Scene } from '../demo/scene.ts'
import { Stage } from '../demo/stage.ts'
import { EXIT } from '../failure.ts'
import { calledAs } from '../self.ts'

const ACTS = [sealedShell, httpRequest, remoteCommand, transfer, cutAndResume, healthAndMetrics]

interface DemoFlags extends CommonOptions {
  embedded?: boolean
}

export const definition: Definition = {
  name: 'demo',
  does: [
    'The whole job on this machine, with nothing set up: an SSH server, a web service, the proxy and an agent are',
    'started in a temporary folder, used, cut, resumed, and removed again. Takes less than 30 s.',
  ].join(' '),
  examples: ['tunnel demo'],
  reaches: false,
  options: [
    { flags: '--embedded', does: "use ssh2's own SSH server and client, even where OpenSSH is installed" },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  return play(made.opts<DemoFlags>())
}

async function play({ embedded = false, json = false }: DemoFlags): Promise<number> {
  const stage = new Stage()
  const say = new Narrator(json)
  const interrupted = new Promise<number>((resolve) => {
    const statuses = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
    for (const [signal, status] of Object.entries(statuses)) process.on(signal, () => resolve(status))
  })
  try {
    const status = await Promise.race([perform(stage, say, embedded), interrupted])
    if (json) process.stdout.write(`${JSON.stringify({ ok: status === EXIT.ok, findings: say.findings })}\n`)
    return status
  } finally {
    say.silence()
    await stage.close()
  }
}

async function perform(stage: Stage, say: Narrator, embedded: boolean): Promise<number> {
  const began = performance.now()
  say.title('tunnel demo: reach a machine behind NAT with your own ssh, all of it on this machine\n')
  try {
    const scene = await Scene.build(stage, say, embedded)
    for (const act of ACTS) await act(scene, say)
  } catch (error) {
    say.failed(error instanceof Error ? error.message : String(error))
  }
  const took = `${((performance.now() - began) / 1_000).toFixed(0)} s`
  if (say.failures > 0) {
    say.line(`\n${say.failures} of the steps failed (${took}).`)
    return EXIT.failure
  }
  say.title(`\nAll of it worked, in ${took}; nothing is left behind. Now on your own machines:`)
  const tunnel = calledAs()
  const where = tunnel === 'tunnel' ? '' : ', typed in this folder'
  say.line(`
  on the proxy's host    ${tunnel} server
  on the machine         ${tunnel} agent --machine home
  anywhere               ${tunnel} ssh home

On one host these three need nothing else${where}; the README tells about tokens and other hosts.`)
  return EXIT.ok
}
