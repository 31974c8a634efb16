import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import test from 'node:test'
import { run, spawnProgram } from '../support/process.ts'
import { Cleanup } from '../support/scope.ts'
import { NetworkNamespace, whyNoNamespaces } from './netns.ts'

const skip = await whyNoNamespaces()

test('a namespace reaches us, changes its address, and leaves nothing behind', { skip }, async (t) => {
  const cleanup = new Cleanup()
  t.after(() => cleanup.close())
  const namespace = await NetworkNamespace.create(cleanup)
  let caller: string | undefined
  const server = createServer((socket) => {
    caller = socket.remoteAddress
    socket.end()
  }).listen(0, namespace.hostAddress)
  t.after(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const program = `net.connect(${port}, '${namespace.hostAddress}').resume()`
  const dial = async () => {
    assert.equal((await run(...namespace.wrap(process.execPath, ['-e', program]))).code, 0)
    return caller
  }
  const before = namespace.address
  assert.equal(await dial(), before)
  const after = await namespace.changeAddress()
  assert.notEqual(after, before)
  assert.equal(await dial(), after)

  const [command, args] = namespace.wrap('sh', ['-c', 'echo inside; exec sleep 1000'])
  const forgotten = spawnProgram(t, command, args)
  await forgotten.line('inside')
  await cleanup.close()
  assert.equal((await forgotten.exit).signal, 'SIGKILL')
  assert.doesNotMatch((await run('ip', ['netns', 'list'])).stdout, new RegExp(namespace.name))
  assert.doesNotMatch((await run('ip', ['link'])).stdout, new RegExp(namespace.name))
})

test('what a crashed run has left is removed by the next', { skip }, async (t) => {
  const crashed = await run(process.execPath, ['-e', 'console.log(process.pid)'])
  const stale = `tw${crashed.stdout.trim()}n0`
  await run('ip', ['netns', 'add', stale])
  await NetworkNamespace.create(t)
  assert.doesNotMatch((await run('ip', ['netns', 'list'])).stdout, new RegExp(stale))
})
