import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import test, { type TestContext } from 'node:test'
import { SSH_PATIENCE_MS, waitOut } from '../../cli/wait-out.ts'
import { drop, listenTcp, readAll, startProxy } from '../support/proxy.ts'
import { requireSystem, type Sshd, startSshd } from '../support/sshd.ts'

test('a hundred parallel sessions of one user go through, with the default limits of the lowest tier', async (t) => {
  const proxy = await startProxy(t)
  const address = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', address)
  const token = proxy.tokenOf('alice', { tier: 'free' })
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const tunnel = proxy.client('alice', { token })
      // As `ssh` does: a computer that is busy may not answer all of them in time.
      await waitOut(
        () => tunnel.connect(),
        () => {},
        { isDial: true, patienceMs: SSH_PATIENCE_MS },
      )
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

/** How long sshd has to notice that one who has not logged in has left (agent/logins.ts), in ms. */
const NOTICED_MS = 250

/** A way to sshd that knows how many have been there at once, and how long sshd took at most to hang up on one who left. */
async function watchedWay(t: TestContext, { port, host }: Sshd) {
  const seen = { most: 0, slowestMs: 0 }
  let count = 0
  const address = await listenTcp(t, (near) => {
    seen.most = Math.max(seen.most, ++count)
    const far = connect(port, host)
    t.after(() => far.destroy())
    near.pipe(far).pipe(near)
    far.on('error', () => {})
    let leftAtMs: number | undefined
    const leave = (): void => {
      if (leftAtMs !== undefined) return
      count--
      leftAtMs = performance.now()
      far.end()
    }
    near.once('end', leave).once('close', leave)
    far.once('close', () => {
      if (leftAtMs !== undefined) seen.slowestMs = Math.max(seen.slowestMs, performance.now() - leftAtMs)
    })
  })
  return { address, seen }
}

test('fifty parallel logins of one user go through where sshd takes ten at once, and none is turned away', {
  skip: requireSystem('sshd'),
}, async (t) => {
  const [proxy, sshd] = await Promise.all([
    startProxy(t),
    startSshd(t, { config: ['MaxStartups 10:100:10'] }),
  ])
  const { address, seen } = await watchedWay(t, sshd)
  await proxy.startAgent('home', 'alice', address)
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
  assert.ok(seen.most <= 10, `${seen.most} at once`)
  // On a busy computer sshd may take longer than it is given, and then turns somebody away, who comes again.
  if (seen.slowestMs < NOTICED_MS) assert.deepEqual(said, [])
  else t.diagnostic(`sshd took ${Math.round(seen.slowestMs)} ms to hang up; waited: ${said.length}`)
})
