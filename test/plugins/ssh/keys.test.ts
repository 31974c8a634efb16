import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify from 'fastify'
import ssh2 from 'ssh2'
import { Value } from 'typebox/value'
import ssh from '../../../plugins/ssh/index.ts'
import { deriveUserKey } from '../../../plugins/ssh/keys.ts'
import { SshOptions } from '../../../plugins/ssh/options.ts'
import { hostKeyAlgorithms, isPinned, parsePins } from '../../../plugins/ssh/pins.ts'
import { fingerprint } from '../../../protocol/node/host-keys.ts'
import { tempFolder } from '../../support/tree.ts'
import { registerGround } from '../ground.ts'

const SECRET = 'a master secret of a test, long enough'

test('ssh-keygen reads the derived key and finds the same public half and fingerprint', async (t) => {
  const folder = await tempFolder(t, 'keys')
  // Lengths of the comment that leave every kind of padding.
  for (const userId of ['ada', 'ada@', 'ada@e', 'ada@ex', 'ada@exa', 'ada@exam', 'ada@examp', 'ada@exampl']) {
    const key = deriveUserKey(SECRET, userId)
    const file = join(folder, userId)
    await writeFile(file, key.privateKey, { mode: 0o600 })
    assert.equal(execFileSync('ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' }).trim(), key.publicKey)
    const listed = execFileSync('ssh-keygen', ['-l', '-f', file], { encoding: 'utf8' })
    assert.ok(listed.includes(fingerprint(parsePins([key.publicKey])[0]!.blob)))
  }
})

test('ssh2 reads the derived key', () => {
  const key = ssh2.utils.parseKey(deriveUserKey(SECRET, 'ada').privateKey)
  assert.ok(!(key instanceof Error), String(key))
})

test('a key depends on the user and on the secret, and on nothing else', () => {
  const of = (secret: string, user: string): string => deriveUserKey(secret, user).privateKey
  assert.equal(of(SECRET, 'ada'), of(SECRET, 'ada'))
  assert.notEqual(of(SECRET, 'ada'), of(SECRET, 'bob'))
  assert.notEqual(of(SECRET, 'ada'), of(`${SECRET}.`, 'ada'))
  // Every user would have to authorise a new key if this changed.
  assert.equal(
    deriveUserKey(SECRET, 'ada').publicKey,
    'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIW1IMtFTuTuS4ecT2LDGF1eev9USKjpJuJoH62z/O3a tunnel:ada',
  )
})

test('a pin matches one key exactly', () => {
  const ada = parsePins([deriveUserKey(SECRET, 'ada').publicKey])
  const bob = parsePins([deriveUserKey(SECRET, 'bob').publicKey])
  assert.ok(isPinned([...bob, ...ada], ada[0]!.blob))
  assert.ok(!isPinned(bob, ada[0]!.blob))
  assert.ok(!isPinned(ada, ada[0]!.blob.subarray(0, -1)))
  assert.ok(!isPinned([], ada[0]!.blob))
})

test('lines that are no host key are no pins', () => {
  assert.deepEqual(parsePins(['', 'ssh-ed25519', 'ssh-dss AAAA', 'nonsense AAAA']), [])
})

test('the server is asked for a pinned type first, and never for SHA-1', () => {
  const algorithms = hostKeyAlgorithms([{ type: 'ssh-rsa', blob: Buffer.alloc(1) }])
  assert.deepEqual(algorithms.slice(0, 2), ['rsa-sha2-512', 'rsa-sha2-256'])
  assert.ok(algorithms.includes('ssh-ed25519'))
  assert.ok(!algorithms.includes('ssh-rsa'))
})

test('the master secret is measured in bytes, as the settings measure it', async (t) => {
  const start = async (masterSecret: string) => {
    const app = Fastify()
    t.after(() => app.close())
    await registerGround(t, app)
    await app.register(ssh, Value.Parse(SshOptions, Value.Default(SshOptions, { masterSecret })))
  }
  await start('é'.repeat(16))
  await assert.rejects(start(`${'é'.repeat(15)}s`), /at least 32 bytes, and has 31/)
  // Of several, each.
  await assert.rejects(start(`${'é'.repeat(16)}\nshort`), /at least 32 bytes, and has 5/)
  await assert.rejects(start(Array(5).fill('é'.repeat(16)).join('\n')), /more than 4 lines/)
})
