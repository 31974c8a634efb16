import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { requireSystem } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { onTerminal, requirePty } from './on-terminal.ts'
import { TUNNEL } from './tunnel.ts'
import { buildWay, type WayOfPrograms } from './way.ts'

const skip = requireSystem('sshd', 'ssh', 'script') ?? requirePty()

/** Each by its sentence; they share a proxy, an agent and a sshd. */
const SCENES: Record<string, (t: TestContext, way: WayOfPrograms) => Promise<void>> = {}

SCENES['on a terminal a person is told of a lost link and of its return'] = async (t, way) => {
  const enough = join(await tempFolder(t), 'enough')
  const count = `i=0; until [ -e ${enough} ]; do i=$((i+1)); echo n$i; sleep 0.1; done; exit 5`
  const ssh = onTerminal(t, [...TUNNEL, 'ssh', ...way.sshOptions, 'home', count], { env: way.env })
  await ssh.line(/^n5\b/)
  way.proxy.kill('SIGKILL')
  await ssh.line(/^tunnel: home: link lost, resuming… \(Enter ~ \. gives up\)/)
  await way.proxy.exit
  await way.startProxy()
  await ssh.line(/^tunnel: home: resumed after \d+\.\d s, nothing lost/)
  await writeFile(enough, '')
  assert.equal((await ssh.exit).code, 5)
  const numbers = [...ssh.stdout.matchAll(/^n(\d+)\r?$/gm)].map(([, number]) => Number(number))
  assert.ok(numbers.length > 5)
  assert.deepEqual(
    numbers,
    numbers.map((_, index) => index + 1),
  )
}

SCENES['at a prompt a lost link is told in the title of the window, and the screen stays as it was'] = async (
  t,
  way,
) => {
  const words = [...TUNNEL, 'ssh', ...way.sshOptions, '-tt', 'home', 'echo up; exec cat']
  const env = { ...way.env, TERM: 'xterm' }
  const ssh = onTerminal(t, words, { env, stdin: 'pipe' })
  await ssh.line('up')
  const before = ssh.stdout.length
  way.proxy.kill('SIGKILL')
  await ssh.line('\u001b]2;tunnel: home: link lost, resuming…')
  await way.proxy.exit
  await way.startProxy()
  // What is typed is sent at once when the proxy is there again.
  ssh.write('typed\n')
  await ssh.line('\u001b[23;2t')
  await ssh.line('typed')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant.
  const shown = ssh.stdout.slice(before).replaceAll(/\u001b\[2[23];2t|\u001b\]2;[^\u0007]*\u0007/g, '')
  assert.match(shown, /^[\r\n]*(typed[\r\n]*)*$/)
}

SCENES['a prompt: what is typed reaches a terminal on the machine, and its size does too'] = async (
  t,
  way,
) => {
  const words = [...TUNNEL, 'ssh', ...way.sshOptions, 'home']
  const ssh = onTerminal(t, words, { env: way.env, stdin: 'pipe' }, 'stty rows 33 cols 77; ')
  await ssh.line(/[#$] /)
  ssh.write('stty size; exit 6\n')
  await ssh.line(/\b33 77\b/)
  assert.equal((await ssh.exit).code, 6)
}

SCENES['on a terminal the proxy says what to type next, and Ctrl-C ends it'] = async (t, way) => {
  const { env } = way
  const other = {
    ...env,
    TUNNEL_STATE_DIR: `${env.TUNNEL_STATE_DIR}2`,
    NO_COLOR: '1',
    npm_lifecycle_event: 'npx',
  }
  const proxy = onTerminal(t, [...TUNNEL, 'server', '--port', '0'], { env: other, stdin: 'pipe' })
  await proxy.line(/the proxy listens on http:\/\/127\.0\.0\.1:\d+/)
  await proxy.line(/TUNNEL_STATE_DIR=\S+ TUNNEL_URL=\S+ npx tunnel ssh home/)
  proxy.write('\u0003')
  assert.equal((await proxy.exit).code, 0)
  assert.equal(proxy.stdout.includes('"level":"INFO"'), false)
}

SCENES['tunnel stdio on a terminal ends when the machine ends'] = async (t, way) => {
  const stdio = onTerminal(t, [...TUNNEL, 'stdio', 'home'], { env: way.env, stdin: 'pipe' })
  await stdio.line(/^SSH-2\.0-OpenSSH/)
  stdio.write('this is no SSH\n')
  assert.equal((await stdio.exit).code, 0)
}

test('on a terminal', { skip }, async (t) => {
  const way = await buildWay(t)
  for (const [sentence, scene] of Object.entries(SCENES)) await t.test(sentence, (t) => scene(t, way))
})
