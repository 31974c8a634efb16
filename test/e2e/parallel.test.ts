import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'
import { waitOut } from '../../cli/wait-out.ts'
import { drop, listenTcp, readAll, startProxy } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'

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

test('fifty parallel logins of one user go through where sshd takes ten at once, and none is turned away', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const [proxy, sshd] = await Promise.all([
    startProxy(t),
    startSshd(t, { config: ['MaxStartups 10:100:10'] }),
  ])
  await proxy.startAgent('home', 'alice', sshd)
  const tunnel = await proxy.connect('alice')
  const said: string[] = []
  const greetings = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const open = () => tunnel.open({ machine: 'home', kind: 'ssh' })
      const stream = await waitOut(open, (line) => said.push(line))
      const [greeting = 'no greeting'] = await Promise.race([once(stream, 'data'), once(stream, 'end')])
      drop(stream)
      return String(greeting)
    }),
  )
  for (const greeting of greetings) assert.match(greeting, /^SSH-2\.0-/)
  assert.deepEqual(said, [])
})
