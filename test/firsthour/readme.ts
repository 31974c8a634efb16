import assert from 'node:assert/strict'
import { killTree } from '../support/proc.ts'
import type { Said } from './host.ts'
import { AUTHORITY } from './host.ts'
import { blocksOf } from './printed.ts'
import type { Scene } from './scene.ts'
import { type Rule, type WalkOptions, walk } from './walk.ts'

type Typing = Pick<WalkOptions, 'typing'>

/** The other sections of README with commands, in its order; `walkSeveralHosts` has the one on several hosts. */
export const DAILY_SECTIONS = [
  'Files',
  'A port, or all of them',
  'Without the `tunnel` command',
  'A link kept in the background',
] as const

/** The sections of README that say on which host their commands are typed. */
export function printedSections(): string[] {
  return [...new Set(blocksOf('README.md').map(({ section }) => section))]
}

/** A prompt, and what is typed there. */
function prompt(host: string): Omit<Rule, 'line'> {
  const answer = new RegExp(`^${host}$`, 'm')
  return { input: () => 'hostname\nexit\n', said: ({ stdout }: Said) => assert.match(stdout, answer) }
}

/**
 * README's three commands, on a host that has an sshd. They are typed without `npx`, which would build the package anew
 * in its clone: here is only what was built.
 */
export async function walkThreeCommands(scene: Scene, options: Typing = {}): Promise<void> {
  const blocks = blocksOf('README.md').filter(({ section }) => section === 'Three commands')
  assert.equal(blocks.length, 1)
  const installed = (line: string): string => line.replace(/^npx /, '')
  const rules: Rule[] = [
    { line: /^npx tunnel server$/, typed: installed, until: /listening/i },
    // The user's own key is let in, not the proxy's: the session is sealed.
    { line: /^npx tunnel agent --machine home$/, typed: installed, until: /is on line/ },
    {
      line: /^npx tunnel ssh home$/,
      typed: (line) =>
        installed(line.replace('tunnel ssh', 'tunnel ssh -o StrictHostKeyChecking=accept-new')),
      ...prompt('machine'),
    },
  ]
  const { machine } = scene.hosts
  await machine.must('alice', "ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
  await machine.must('alice', 'cat .ssh/id_ed25519.pub >> .ssh/authorized_keys')
  // Each line is typed in a terminal of its own.
  const apart = blocks[0]!.text
    .trim()
    .split('\n')
    .map((text) => ({ ...blocks[0]!, text }))
  const running = await walk(scene, apart, { ...options, rules, user: () => 'alice' })
  for (const { pid } of running) killTree(pid)
}

/** The commands of every day, where alice has done what README says of several hosts and the services run. */
export async function walkDaily(scene: Scene, token: string, options: Typing = {}): Promise<void> {
  const { laptop, machine } = scene.hosts
  await laptop.must('alice', 'head -c 3000000 /dev/urandom > big.iso && mkdir backup')
  await machine.must('alice', 'mkdir -p projects/site && echo page > projects/site/index.html && touch read')
  const rules: Rule[] = [
    { line: /^tunnel ssh home$/, ...prompt('machine') },
    {
      line: /^curl /,
      typed: (line) => `export TOKEN=${token.trim()} CURL_CA_BUNDLE=${AUTHORITY}; ${line}`,
      said: ({ stdout }) => assert.match(stdout, /data: three/),
    },
  ]
  const daily: readonly string[] = DAILY_SECTIONS
  const blocks = blocksOf('README.md').filter(({ section }) => daily.includes(section))
  const running = await walk(scene, blocks, { ...options, rules })
  const page = await laptop.must('alice', 'curl -s --proxy socks5h://127.0.0.1:1080 http://localhost:8080/')
  assert.equal(page, 'a page of alice\n')
  const sums = await Promise.all([laptop, machine].map((host) => host.must('alice', 'sha256sum big.iso')))
  assert.equal(sums[0], sums[1])
  assert.equal(await laptop.must('alice', 'cat backup/site/index.html'), 'page\n')
  await machine.must('alice', 'rm read')
  for (const { pid } of running) killTree(pid)
  await Promise.all(running.map((program) => program.exit))
}
