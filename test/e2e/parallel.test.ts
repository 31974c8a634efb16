import assert from 'node:assert/strict'
import test from 'node:test'
import { listenTcp, readAll, startProxy } from '../support/proxy.ts'

test('a hundred parallel sessions of one user go through, with the default limits of the lowest tier', async (t) => {
  const proxy = await startProxy(t)
  const address = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', address)
  const token = proxy.tokenOf('alice', { tier: 'free' })
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const tunnel = await proxy.connect('alice', { token })
      const stream = await tunnel.open({ machine: 'home', kind: 'ssh' })
      stream.end(`${index}`)
      return String(await readAll(stream))
    }),
  )
  assert.deepEqual(
    answers,
    Array.from({ length: 100 }, (_, index) => `${index}`),
  )
})
