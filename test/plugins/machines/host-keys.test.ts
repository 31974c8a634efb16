import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import test, { type TestContext } from 'node:test'
import { TunnelError } from '../../../client/index.ts'
import { describe, hasChanged } from '../../../plugins/machines/host-keys.ts'
import { drop, listenTcp, readAll, startProxy } from '../../support/proxy.ts'
import { requireSystem, type Sshd, startSshd } from '../../support/sshd.ts'

const skip = requireSystem('sshd')

/** An address that leads to one sshd, and from `swap` on to another: a machine that shows other host keys. */
async function swappable(t: TestContext, first: Sshd) {
  let target = first
  const address = await listenTcp(t, (near) => {
    const far = connect({ host: target.host, port: target.port, allowHalfOpen: true })
    far.on('error', () => near.destroy()).once('close', () => near.destroy())
    near.once('close', () => far.destroy())
    near.pipe(far).pipe(near)
  })
  return {
    address,
    swap: (to: Sshd) => {
      target = to
    },
  }
}

interface MachineAnswer {
  hostKeyChanged: boolean
  hostKeys: { type: string; fingerprint: string }[]
}

test('a changed host key stops the inspected path until its owner trusts it, and the sealed one never', {
  skip,
}, async (t) => {
  const [before, after] = await Promise.all([startSshd(t), startSshd(t)])
  const { address, swap } = await swappable(t, before)
  // No breaker and no pool between the attempts: each is an SSH handshake of its own.
  const proxy = await startProxy(t, { set: ['pool.idleMs=1', 'breaker.failures=100'] })
  for (const sshd of [before, after]) await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  await proxy.startAgent('home', 'alice', address)
  const tunnel = await proxy.connect('alice')
  const machine = async () => (await (await proxy.api('alice', 'machines/home')).json()) as MachineAnswer
  assert.equal((await tunnel.exec('home', 'echo hello')).stdout.toString(), 'hello\n')
  const pinned = (await machine()).hostKeys
  assert.deepEqual(
    pinned.map(({ fingerprint }) => fingerprint),
    before.hostKeys.slice(0, 1).map((key) => describe(key).fingerprint),
  )

  swap(after)
  await before.close()
  const shown = after.hostKeys.map((key) => describe(key).fingerprint)
  await assert.rejects(tunnel.exec('home', 'true'), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.equal(error.code, 'HOST_KEY_CHANGED', error.message)
    assert.ok(shown.some((fingerprint) => error.message.includes(fingerprint)))
    assert.ok(pinned.some(({ fingerprint }) => error.message.includes(fingerprint)))
    return true
  })
  await assert.rejects(tunnel.forwardRequest({ machine: 'home' }), { code: 'HOST_KEY_CHANGED' })
  await assert.rejects(tunnel.open({ machine: 'home', kind: 'tcp', target: '127.0.0.1:22' }), {
    code: 'HOST_KEY_CHANGED',
  })
  assert.equal((await machine()).hostKeyChanged, true)

  // The person's own ssh has its own known_hosts.
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh' })
  sealed.end()
  assert.match(String(await readAll(sealed)), /^SSH-2\.0-OpenSSH/)
  drop(sealed)

  const trusted = await proxy.api('alice', 'machines/home/trust', { method: 'POST' })
  assert.equal(trusted.status, 200)
  assert.equal((await machine()).hostKeyChanged, false)
  assert.equal((await tunnel.exec('home', 'echo again')).stdout.toString(), 'again\n')

  // The agent's next HELLO, and the proxy's next start, know nothing of the former key.
  await proxy.restart()
  assert.equal((await tunnel.exec('home', 'echo later')).stdout.toString(), 'later\n')
  assert.equal((await machine()).hostKeyChanged, false)
})

test('a key that is not let in is refused with advice, and the breaker does not count it', {
  skip,
}, async (t) => {
  const sshd = await startSshd(t)
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', `127.0.0.1:${sshd.port}`)
  const tunnel = await proxy.connect('alice')
  for (let i = 0; i < 6; i++) {
    await assert.rejects(tunnel.exec('home', 'true'), (error) => {
      assert.ok(error instanceof TunnelError)
      assert.equal(error.code, 'SSH_AUTH_FAILED')
      assert.match(error.message, /--authorize/)
      assert.match(error.message, new RegExp(sshd.user))
      return true
    })
  }
  await sshd.authorize(proxy.app.ssh.publicKey('alice'))
  assert.equal((await tunnel.exec('home', 'echo in')).stdout.toString(), 'in\n')
  assert.match(await readFile(sshd.authorizedKeysFile, 'utf8'), /tunnel:alice/)
})

test('trusting a machine that has told no key, or is unknown, says so', async (t) => {
  const proxy = await startProxy(t)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const trust = async (machine: string) => {
    const answer = await proxy.api('alice', `machines/${machine}/trust`, { method: 'POST' })
    return [answer.status, ((await answer.json()) as { code: string }).code]
  }
  assert.deepEqual(await trust('home'), [503, 'MACHINE_OFFLINE'])
  assert.deepEqual(await trust('nowhere'), [404, 'MACHINE_UNKNOWN'])
})

test('more keys, or fewer, are no change; another of a known type is, and so are none that were known', () => {
  const [ed, ec, other] = ['ssh-ed25519 AAAA', 'ecdsa-sha2-nistp256 BBBB', 'ssh-ed25519 CCCC']
  assert.equal(hasChanged([], [ed!]), false)
  assert.equal(hasChanged([ed!], []), false)
  assert.equal(hasChanged([ed!], [ed!, ec!]), false)
  assert.equal(hasChanged([ed!, ec!], [ec!]), false)
  assert.equal(hasChanged([ed!, ec!], [other!, ec!]), true)
  assert.equal(hasChanged([ed!], [ec!]), true)
})
