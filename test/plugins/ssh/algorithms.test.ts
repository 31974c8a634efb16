import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import test from 'node:test'
import ssh2 from 'ssh2'
import { checkAlgorithms } from '../../../plugins/ssh/algorithms.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { startProxy } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'

const skip = requireSystem('sshd')

test('a real sshd is spoken to by curve25519, AES-GCM and a host key without SHA-1', { skip }, async (t) => {
  const sshd = await startSshd(t, { config: ['LogLevel DEBUG1'] })
  const proxy = await startProxy(t, { set: ['pool.idleMs=1'] })
  await proxy.startAgent('home', 'alice', sshd)
  const tunnel = await proxy.connect('alice')
  assert.equal((await tunnel.exec('home', 'echo in')).stdout.toString(), 'in\n')
  // The agent's scan of the host key ends before the last of these.
  assert.match(sshd.stderr, /kex: algorithm: curve25519-sha256\b/)
  assert.match(sshd.stderr, /kex: host key algorithm: ssh-ed25519\b/)
  assert.match(sshd.stderr, /kex: client->server cipher: aes256-gcm@openssh\.com/)
  assert.doesNotMatch(sshd.stderr, /kex: (client|server)->.* MAC: hmac-(sha1|md5)/)
})

test('a machine whose server speaks nothing but what is broken is refused, and says so', async (t) => {
  const hostKeys = [ssh2.utils.generateKeyPairSync('rsa', { bits: 2_048 }).private]
  const old = {
    kex: ['diffie-hellman-group14-sha1'],
    cipher: ['aes128-cbc'],
    hmac: ['hmac-sha1'],
    serverHostKey: ['ssh-rsa'],
  }
  const server = new ssh2.Server({ hostKeys, algorithms: old as never }, (client) => {
    client.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const [pinned] = [hostKeys[0]!].map((key) => {
    const parsed = ssh2.utils.parseKey(key) as ssh2.ParsedKey
    return `ssh-rsa ${parsed.getPublicSSH().toString('base64')}`
  })
  const { port } = server.address() as AddressInfo
  const machines = { attic: { host: '127.0.0.1', port, user: 'me', hostKey: pinned!, owners: ['alice'] } }
  const proxy = await startProxy(t, { machines })
  const tunnel = await proxy.connect('alice')
  await assert.rejects(tunnel.exec('attic', 'true'), (error) => {
    assert.ok(error instanceof TunnelError)
    assert.equal(error.code, 'SSH_HANDSHAKE_FAILED')
    assert.match(
      error.message,
      /no matching .*: its SSH server speaks nothing of what .*ssh\.algorithms name/,
    )
    return true
  })
})

test('a configuration cannot ask for an algorithm that is broken', () => {
  const good = { kex: ['curve25519-sha256'], cipher: ['chacha20-poly1305@openssh.com', 'aes256-ctr'] }
  checkAlgorithms(good)
  for (const [name, wrong] of [
    ['kex', 'diffie-hellman-group14-sha1'],
    ['cipher', 'aes256-cbc'],
    ['cipher', '3des-cbc'],
  ] as const)
    assert.throws(() => checkAlgorithms({ ...good, [name]: [wrong] }), { code: 'CONFIG_INVALID' }, wrong)
})

test('while the master secret is replaced both keys work, the new one first, and the former is told of', {
  skip,
}, async (t) => {
  const sshd = await startSshd(t)
  const proxy = await startProxy(t, { set: ['pool.idleMs=1'] })
  await proxy.startAgent('home', 'alice', sshd)
  const key = async () => (await (await proxy.api('alice', 'ssh/key')).json()) as Record<string, unknown>
  const before = await key()
  assert.deepEqual(before.formerKeys, [])
  const { ssh } = proxy.settings
  ssh.masterSecret = `another master secret, for all of the future\n${ssh.masterSecret}`
  await proxy.restart()
  const after = await key()
  assert.notEqual(after.keyId, before.keyId)
  assert.deepEqual(after.formerKeys, [{ publicKey: before.publicKey, keyId: before.keyId }])
  const tunnel = await proxy.connect('alice')
  const told = () => proxy.log.filter(({ message }) => /knows a former key alone/.test(message))
  const hello = async () => (await tunnel.exec('home', 'echo in')).stdout.toString()
  assert.equal(await hello(), 'in\n')
  assert.deepEqual(
    told().map(({ context }) => context),
    [{ machine: 'home', keyId: before.keyId }],
  )
  await sshd.authorize(String(after.publicKey))
  await proxy.restart()
  assert.equal(await hello(), 'in\n')
  assert.equal(told().length, 1)
})
