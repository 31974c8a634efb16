import assert from 'node:assert/strict'
import test from 'node:test'
import { descendants, processFacts } from './proc.ts'
import { run, spawnProgram } from './process.ts'
import { requireSystem, sshOptions, startSshd } from './sshd.ts'

const skip = requireSystem('sshd', 'ssh')

test('a stock ssh runs a command on the sshd of the tests and gets its status', { skip }, async (t) => {
  const sshd = await startSshd(t)
  const result = await run('ssh', [...sshOptions(sshd), 'home', 'echo out; echo err >&2; exit 7'])
  assert.deepEqual([result.stdout, result.stderr, result.code], ['out\n', 'err\n', 7])
})

test('a key that was not authorised is refused, and let in once it is', { skip }, async (t) => {
  const [first, second] = await Promise.all([startSshd(t), startSshd(t)])
  const options = sshOptions(first, { identityFile: second.clientKeyFile })
  assert.equal((await run('ssh', [...options, 'home', 'true'])).code, 255)
  await first.authorize(second.clientPublicKey)
  assert.equal((await run('ssh', [...options, 'home', 'true'])).code, 0)
})

test('closing the sshd ends its sessions and their commands', { skip }, async (t) => {
  const sshd = await startSshd(t)
  const session = spawnProgram(t, 'ssh', [...sshOptions(sshd), 'home', 'echo here; exec sleep 1000'])
  await session.line('here')
  const pids = descendants(sshd.pid)
  assert.ok(pids.length > 0)
  await sshd.close()
  assert.equal((await session.exit).code, 255)
  assert.deepEqual(
    pids.filter((pid) => processFacts(pid)?.zombie === false),
    [],
  )
})
