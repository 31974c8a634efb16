import assert from 'node:assert/strict'
import type { Program } from '../support/process.ts'
import { AUTHORITY, type Host } from './host.ts'
import { type Block, blocksOf } from './printed.ts'
import { PROXY_NAME, type Scene } from './scene.ts'
import { walk } from './walk.ts'

export const FRONTS = ['nginx', 'caddy', 'haproxy'] as const
export type Front = (typeof FRONTS)[number]

/** Under which docs/DEPLOYMENT.md has it. */
const HEADINGS: Record<Front, string> = { nginx: 'nginx', caddy: 'Caddy', haproxy: 'HAProxy' }
/** As Debian's units run them. */
const COMMANDS: Record<Front, string> = {
  nginx: "nginx -g 'daemon off;'",
  caddy: 'caddy run --config /etc/caddy/Caddyfile',
  haproxy: 'haproxy -W -f /etc/haproxy/haproxy.cfg',
}

/** What docs/DEPLOYMENT.md has under a heading. */
export function deploymentOf(heading: string): Block[] {
  const blocks = blocksOf('docs/DEPLOYMENT.md').filter(({ section }) => section === heading)
  assert.notEqual(blocks.length, 0, heading)
  return blocks
}

/** Ends well as soon as somebody listens. */
const LISTENS = 'for i in $(seq 200); do (: < /dev/tcp/127.0.0.1/443) 2>&- && exit; sleep 0.05; done; exit 1'

/** Sets up what docs/DEPLOYMENT.md says of it on the proxy's host, and starts it there. */
export async function startFront(scene: Scene, front: Front): Promise<Program> {
  await walk(scene, deploymentOf(HEADINGS[front]), {})
  const { proxy } = scene.hosts
  const program = proxy.start('root', COMMANDS[front])
  const listens = proxy.must('root', LISTENS)
  const ended = program.exit.then(() => {
    throw new Error(`${front} ended:\n${program.stdout}${program.stderr}`)
  })
  await Promise.race([listens, ended])
  return program
}

/** Whether the proxy counts each caller apart, and takes no caller's word for who that is. */
export async function countsCallersApart({ hosts: { laptop, cloud } }: Scene): Promise<void> {
  const left = async (host: Host, forged: string): Promise<number> => {
    const url = `https://${PROXY_NAME}/api/tunnel/machines`
    const line = `curl -sS --cacert ${AUTHORITY} -H 'X-Forwarded-For: ${forged}' -o /dev/null -D - ${url}`
    const head = await host.must('alice', line)
    return Number(
      /^ratelimit:.*\br=(\d+)/im.exec(head)?.[1] ?? /^x-ratelimit-remaining: (\d+)/im.exec(head)?.[1],
    )
  }
  const [first, second] = [await left(laptop, '192.0.2.1'), await left(laptop, '192.0.2.2')]
  assert.ok(second < first, `of the laptop ${first}, then ${second}`)
  const other = await left(cloud, '192.0.2.3')
  assert.ok(other > second, `of the laptop ${second}, of another host ${other}`)
}
