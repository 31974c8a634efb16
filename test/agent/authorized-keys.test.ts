import assert from 'node:assert/strict'
import {
  appendFile,
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { authorizeKey } from '../../agent/authorized-keys.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { newPublicKey } from '../support/public-key.ts'
import { tempFolder } from '../support/tree.ts'

const newKey = (comment = 'tunnel:alice') => newPublicKey(comment)

async function place(t: TestContext) {
  const home = await tempFolder(t, 'authorized')
  return { home, file: join(home, '.ssh', 'authorized_keys') }
}

const isRefused = (pattern: RegExp) => (error: unknown) =>
  error instanceof TunnelError && error.code === 'CONFIG_INVALID' && pattern.test(error.message)

test('a key is added once, restricted to loopback, in a folder and file that only their owner reads', async (t) => {
  const { home, file } = await place(t)
  const key = newKey()
  assert.equal(await authorizeKey(key, { file }), true)
  assert.equal(await authorizeKey(key, { file }), false)
  assert.equal(await readFile(file, 'utf8'), `restrict,port-forwarding,pty,from="127.0.0.0/8,::1" ${key}\n`)
  assert.equal((await stat(file)).mode & 0o777, 0o600)
  assert.equal((await stat(join(home, '.ssh'))).mode & 0o777, 0o700)
  assert.deepEqual(await readdir(join(home, '.ssh')), ['authorized_keys'])
})

test('a line of an earlier version, which names one address, gets one beside it that names them all', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  const key = newKey()
  const earlier = `restrict,port-forwarding,pty,from="127.0.0.1,::1" ${key}\n`
  await writeFile(file, earlier)
  assert.equal(await authorizeKey(key, { file }), true)
  assert.equal(await authorizeKey(key, { file }), false)
  const wider = `restrict,port-forwarding,pty,from="127.0.0.0/8,::1" ${key}\n`
  assert.equal(await readFile(file, 'utf8'), `${earlier}${wider}`)
})

test('the lines that were there stay as they are, also where the last has no newline', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  await writeFile(file, '# mine\nssh-rsa AAAA other')
  const key = newKey()
  await authorizeKey(key, { file, from: [] })
  assert.equal(
    await readFile(file, 'utf8'),
    `# mine\nssh-rsa AAAA other\nrestrict,port-forwarding,pty ${key}\n`,
  )
})

test('a key that its owner let in with options of his own is not added again, one in a comment is', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  const [type, blob] = newKey().split(' ')
  await writeFile(file, `command="echo hi" ${type} ${blob} renamed\n`)
  assert.equal(await authorizeKey(`${type} ${blob} tunnel:alice`, { file }), false)
  await writeFile(file, `# ${type} ${blob} switched off\n`)
  assert.equal(await authorizeKey(`${type} ${blob} tunnel:alice`, { file }), true)
})

test('keys that are added at once are all there, and what another program adds meanwhile as well', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  await writeFile(file, 'ssh-ed25519 AAAA owner\n')
  const keys = Array.from({ length: 20 }, (_, index) => newKey(`tunnel:${index}`))
  const other = appendFile(file, 'ssh-ed25519 BBBB another\n')
  const added = await Promise.all(keys.map((key) => authorizeKey(key, { file })))
  await other
  assert.ok(added.every(Boolean))
  const text = await readFile(file, 'utf8')
  for (const key of [...keys, 'AAAA owner', 'BBBB another']) assert.ok(text.includes(`${key}\n`), key)
  assert.equal(text.trimEnd().split('\n').length, 22)
})

test('bytes that are no UTF-8 stay as they are', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  const before = Buffer.from('command="/opt/j\xfcrgen" ssh-ed25519 AAAA j\xfcrgen\n', 'latin1')
  await writeFile(file, before)
  await authorizeKey(newKey(), { file })
  assert.deepEqual((await readFile(file)).subarray(0, before.length), before)
})

test('a key that is only named in the comment of another line is added', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  const key = newKey()
  await writeFile(file, `${newKey('in place of')} ${key}\n`)
  assert.equal(await authorizeKey(key, { file }), true)
})

test('what is no single plain key is refused: it would end in a file that grants access', async (t) => {
  const { file } = await place(t)
  const key = newKey()
  const [type, blob] = key.split(' ')
  const bad = [
    '',
    'hello',
    `${key}\nssh-ed25519 AAAA evil`,
    `command="sh" ${key}`,
    `ssh-rsa ${blob}`,
    `${type} !!!!`,
  ]
  for (const text of bad)
    await assert.rejects(authorizeKey(text, { file }), isRefused(/not a valid public SSH key/), text)
})

test('a symbolic link, a file that is none, and a folder open to others are refused', async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  await writeFile(join(home, 'elsewhere'), 'untouched')
  await symlink(join(home, 'elsewhere'), file)
  await assert.rejects(authorizeKey(newKey(), { file }), isRefused(/symbolic link/))
  assert.equal(await readFile(join(home, 'elsewhere'), 'utf8'), 'untouched')
  const folder = join(home, '.ssh', 'folder')
  await mkdir(folder)
  await assert.rejects(authorizeKey(newKey(), { file: folder }), isRefused(/not a plain file/))
  await chmod(join(home, '.ssh'), 0o777)
  await assert.rejects(
    authorizeKey(newKey(), { file: join(home, '.ssh', 'new') }),
    isRefused(/written to by others/),
  )
})

test('root keeps the owner of the file', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const { home, file } = await place(t)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  await writeFile(file, '', { mode: 0o644 })
  for (const path of [join(home, '.ssh'), file]) await chown(path, 12_345, 12_346)
  await authorizeKey(newKey(), { file })
  const { uid, gid, mode } = await stat(file)
  assert.deepEqual([uid, gid, mode & 0o777], [12_345, 12_346, 0o644])
})
