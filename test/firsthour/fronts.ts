import assert from 'node:assert/strict'
import type { Program } from '../support/process.ts'
import { AUTHORITY, type Host } from './host.ts'
import { type Block, blocksOf } from './printed.ts'
import { PROXY_NAME, type Scene } from './scene.ts'
import { walk } from './walk.ts'

export const FRONTS = ['nginx', 'caddy', 'haproxy'] as const
export type Front = (typeof FRONTS)[number]

interface Start {
  /** Under which docs/DEPLOYMENT.md has it. */
  heading: string
  /** As Debian's unit runs it, in the foreground. */
  command: string
  /** What it says when it listens. */
  listens: RegExp
}

const STARTS: Record<Front, Start> = {
  nginx: {
    heading: 'nginx',
    command: "nginx -g 'daemon off; error_log stderr notice;'",
    listens: /start worker process \d/,
  },
  caddy: {
    heading: 'Caddy',
    command: 'caddy run --config /etc/caddy/Caddyfile',
    listens: /serving initial configuration/,
  },
  haproxy: {
    heading: 'HAProxy',
    command: 'haproxy -W -f /etc/haproxy/haproxy.cfg',
    listens: /Loading success/,
  },
}

/** What docs/DEPLOYMENT.md has under a heading. */
export function deploymentOf(heading: string): Block[] {
  const blocks = blocksOf('docs/DEPLOYMENT.md').filter(({ section }) => section === heading)
  assert.notEqual(blocks.length, 0, heading)
  return blocks
}

/** Sets up what docs/DEPLOYMENT.md says of it on the proxy's host, and starts it there. */
export async function startFront(scene: Scene, front: Front): Promise<Program> {
  const { heading, command, listens } = STARTS[front]
  await walk(scene, deploymentOf(heading), {})
  const program = scene.hosts.proxy.start('root', command)
  await program.line(listens)
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
