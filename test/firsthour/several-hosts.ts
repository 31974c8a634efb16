import assert from 'node:assert/strict'
import type { Program } from '../support/process.ts'
import { deploymentOf, type Front, startFront } from './fronts.ts'
import type { Said } from './host.ts'
import { blocksOf } from './printed.ts'
import type { Scene } from './scene.ts'
import { startUnit } from './unit.ts'
import { type WalkOptions, walk } from './walk.ts'

/**
 * What README.md says of several hosts, from the unit on the proxy's host to plain ssh on the laptop, with this front
 * before the proxy, or with none. Gives what is in front, and alice's token.
 */
export async function walkSeveralHosts(
  scene: Scene,
  front: Front | 'none',
  { typing }: Pick<WalkOptions, 'typing'> = {},
): Promise<{ front: Program; token: string }> {
  const blocks = blocksOf('README.md').filter(({ section }) => section === 'On several hosts')
  assert.deepEqual(
    blocks.map(({ place }) => place),
    ['proxy', 'laptop', 'laptop', 'machine', 'laptop', 'laptop'],
  )
  if (front === 'none') await walk(scene, deploymentOf('Without a reverse proxy'), {})
  let started: Program | undefined
  let token = ''
  let enroll = ''
  /** At a prompt: one command, and the end of the session. */
  const atPrompt = {
    input: () => 'hostname\nexit\n',
    said: ({ stdout }: Said) => assert.match(stdout, /^machine$/m),
  }
  const rules = [
    { line: /^systemctl daemon-reload$/, instead: async () => {} },
    {
      line: /^systemctl enable --now (\S+)$/,
      instead: async (_: Scene, line: string) => {
        const proxy = await startUnit(scene.hosts.proxy, `${line.split(' ').at(-1)}.service`)
        await proxy.line(/listening/i)
        started = front === 'none' ? proxy : await startFront(scene, front)
      },
    },
    {
      line: / tunnel token /,
      said: ({ stdout }: Said) => {
        token = stdout
        assert.match(token, /^ey\S+\n$/)
      },
    },
    { line: /^tunnel use /, input: () => token },
    {
      line: /^tunnel machines --enroll /,
      said: ({ stdout }: Said) => {
        enroll = /^ {2}(tunnel agent enroll .*)$/m.exec(stdout)?.[1] ?? ''
        assert.notEqual(enroll, '')
      },
    },
    {
      line: /^tunnel agent enroll /,
      typed: (line: string) => {
        // The document shows what the command shows, with another code.
        assert.equal(line.replace(/enroll \S+/, ''), enroll.replace(/enroll \S+/, ''))
        return enroll
      },
    },
    // The key is confirmed as it is shown, which needs a terminal; here it is taken as it comes.
    {
      line: /^tunnel ssh home$/,
      ...atPrompt,
      typed: () => 'tunnel ssh -o StrictHostKeyChecking=accept-new home',
    },
    { line: /^ssh home$/, ...atPrompt },
  ]
  await walk(scene, blocks, { rules, ...(typing && { typing }) })
  await comparesFingerprints(scene)
  assert.ok(started)
  return { front: started, token }
}

/** The three places where a person can see the machine's fingerprint agree. */
async function comparesFingerprints({ hosts: { laptop, machine } }: Scene): Promise<void> {
  const [shown, filed, own] = await Promise.all([
    laptop.must('alice', 'tunnel machines'),
    laptop.must('alice', 'ssh-keygen -lf ~/.ssh/known_hosts'),
    machine.must('root', 'ssh-keygen -lf /etc/ssh/tunnel_test_host_key.pub'),
  ])
  const fingerprint = /SHA256:\S+/.exec(own)?.[0] ?? 'none'
  assert.ok(shown.includes(fingerprint), shown)
  assert.ok(filed.includes(fingerprint), filed)
}

/** docs/DEPLOYMENT.md for hosts without systemd: a proxy that runs, and signs tokens. */
export async function walkWithoutSystemd(
  scene: Scene,
  options: Pick<WalkOptions, 'typing'> = {},
): Promise<void> {
  const rules = [
    { line: / tunnel server /, until: /listening/i },
    { line: / tunnel token /, said: ({ stdout }: Said) => assert.match(stdout, /^ey\S+\n$/) },
  ]
  await walk(scene, deploymentOf('Without systemd'), { ...options, user: () => 'alice', rules })
}
