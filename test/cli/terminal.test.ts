import assert from 'node:assert/strict'
import test from 'node:test'
import { spawnProgram } from '../support/process.ts'
import { requireSystem, shellLine } from '../support/sshd.ts'
import { TUNNEL } from './tunnel.ts'
import { buildWay } from './way.ts'

const skip = requireSystem('sshd', 'ssh', 'script')

test('on a terminal a person is told of a lost link and of its return', { skip }, async (t) => {
  const way = await buildWay(t)
  const count = 'i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo n$i; sleep 0.1; done; exit 5'
  const line = shellLine([...TUNNEL, 'ssh', ...way.sshOptions, 'home', count])
  // script(1) gives it a terminal of its own.
  const ssh = spawnProgram(t, 'script', ['-qefc', line, '/dev/null'], { env: way.env })
  await ssh.line(/^n5\b/)
  way.proxy.kill('SIGKILL')
  await ssh.line(/^tunnel: link lost, resuming/)
  await way.proxy.exit
  await way.startProxy()
  await ssh.line(/^tunnel: resumed after \d+\.\d s, nothing lost/)
  assert.equal((await ssh.exit).code, 5)
  const numbers = [...ssh.stdout.matchAll(/^n(\d+)\r?$/gm)].map(([, number]) => Number(number))
  assert.deepEqual(
    numbers,
    Array.from({ length: 50 }, (_, index) => index + 1),
  )
})

test('a prompt: what is typed reaches a terminal on the machine, and its size does too', {
  skip,
}, async (t) => {
  const way = await buildWay(t)
  const line = `stty rows 33 cols 77; ${shellLine([...TUNNEL, 'ssh', ...way.sshOptions, 'home'])}`
  const ssh = spawnProgram(t, 'script', ['-qefc', line, '/dev/null'], { env: way.env, stdin: 'pipe' })
  await ssh.line(/[#$] /)
  ssh.write('stty size; exit 6\n')
  await ssh.line(/\b33 77\b/)
  assert.equal((await ssh.exit).code, 6)
})

test('on a terminal the proxy says what to type next, and Ctrl-C ends it', { skip }, async (t) => {
  const { env } = await buildWay(t)
  const line = shellLine([...TUNNEL, 'server', '--port', '0'])
  const other = { ...env, TUNNEL_STATE_DIR: `${env.TUNNEL_STATE_DIR}2`, NO_COLOR: '1' }
  const proxy = spawnProgram(t, 'script', ['-qefc', line, '/dev/null'], { env: other, stdin: 'pipe' })
  await proxy.line(/the proxy listens on http:\/\/127\.0\.0\.1:\d+/)
  await proxy.line(/TUNNEL_STATE_DIR=\S+ TUNNEL_URL=\S+ npx tunnel ssh home/)
  proxy.write('\u0003')
  assert.equal((await proxy.exit).code, 0)
  assert.equal(proxy.stdout.includes('"level"'), false)
})

test('tunnel stdio on a terminal ends when the machine ends', { skip }, async (t) => {
  const way = await buildWay(t)
  const line = shellLine([...TUNNEL, 'stdio', 'home'])
  const stdio = spawnProgram(t, 'script', ['-qefc', line, '/dev/null'], { env: way.env, stdin: 'pipe' })
  await stdio.line(/^SSH-2\.0-OpenSSH/)
  stdio.write('this is no SSH\n')
  assert.equal((await stdio.exit).code, 0)
})
