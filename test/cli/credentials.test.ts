import assert from 'node:assert/strict'
import { chmod, chown, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { accessFrom } from '../../cli/credentials.ts'
import { respond, startProxy } from '../client/proxy.ts'
import { until } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel, tunnelLines } from './tunnel.ts'

/** A proxy that keeps the tokens it is shown, and an environment that names a file of one. */
async function setUp(t: TestContext, content: string) {
  const proxy = await startProxy(t, { onStream: (stream) => respond(stream, 200) })
  const folder = await tempFolder(t)
  const file = join(folder, 'token')
  await writeFile(file, content)
  const env = isolated(join(folder, 'state'), { TUNNEL_URL: proxy.url, TUNNEL_TOKEN_FILE: file })
  return { proxy, file, env }
}

test('the token is read from TUNNEL_TOKEN_FILE, and TUNNEL_TOKEN and --token come before it', async (t) => {
  const { proxy, env } = await setUp(t, 'of-the-file\n')
  const words = ['request', 'http://home:1/']
  assert.equal((await tunnel(words, { env })).code, 0)
  const both = { ...env, TUNNEL_TOKEN: 'of-the-environment' }
  assert.equal((await tunnel(words, { env: both })).code, 0)
  assert.equal((await tunnel([...words, '--token', 'given'], { env: both })).code, 0)
  assert.deepEqual(proxy.tokens, ['of-the-file', 'of-the-environment', 'given'])
})

test('TUNNEL_TOKEN_FILE is read anew for every dial: whoever renews the token writes it there', async (t) => {
  const { proxy, file, env } = await setUp(t, 'first')
  const agent = startTunnel(t, ['agent', '--machine', 'home', '--ssh', '127.0.0.1:1'], { env })
  await agent.line(/home is on line/)
  await writeFile(file, 'second')
  proxy.cut()
  await until(() => proxy.tokens.length === 2)
  assert.deepEqual(proxy.tokens, ['first', 'second'])
})

test('a token file that is missing or empty is status 3 and says which file, and nothing is dialled', async (t) => {
  const { proxy, file, env } = await setUp(t, ' \n')
  for (const [lines, said] of [
    [['request http://home:1/', 'agent --machine home --ssh 127.0.0.1:1'], 'is empty'],
    [['request http://home:1/', 'machines'], 'does not exist'],
  ] as const) {
    if (said === 'does not exist') await rm(file)
    const words = lines.map((line) => line.split(' '))
    for (const { code, stderr } of await tunnelLines(words, env)) {
      assert.equal(code, 3, stderr)
      assert.match(stderr, /^tunnel \w+: [^\n]*TOKEN_MISSING[^\n]*\n$/)
      assert.ok(stderr.includes(file) && stderr.includes(said), stderr)
    }
  }
  assert.deepEqual(proxy.tokens, [])
})

test('a token file that everybody can write to is refused, and a link to a good one is followed', async (t) => {
  const { proxy, file, env } = await setUp(t, 'of-the-file')
  const link = `${file}.link`
  await symlink(file, link)
  const linked = { ...env, TUNNEL_TOKEN_FILE: link }
  const words = ['request', 'http://home:1/']
  assert.equal((await tunnel(words, { env: linked })).code, 0)
  await chmod(file, 0o666)
  for (const [name, given] of [
    [file, env],
    [link, linked],
  ] as const) {
    const { code, stderr } = await tunnel(words, { env: given })
    assert.equal(code, 3, stderr)
    assert.match(stderr, /^tunnel request: [^\n]*TOKEN_MISSING[^\n]*\n$/)
    assert.ok(stderr.includes(`${name} can be written to by everybody`), stderr)
  }
  assert.deepEqual(proxy.tokens, ['of-the-file'])
})

test("another user's token file is refused", { skip: process.getuid?.() !== 0 }, async (t) => {
  const { proxy, file, env } = await setUp(t, 'of-somebody-else')
  await chown(file, 65_534, 65_534)
  const { code, stderr } = await tunnel(['request', 'http://home:1/'], { env })
  assert.equal(code, 3, stderr)
  assert.ok(stderr.includes(`${file} belongs to another user`), stderr)
  assert.deepEqual(proxy.tokens, [])
})

test('TUNNEL_TOKEN_COMMAND is run for each use; a broken one is told with its name', async () => {
  const env = { TUNNEL_URL: 'http://127.0.0.1:1', TUNNEL_TOKEN_COMMAND: "printf '%s' 'of a command'" }
  const { token } = accessFrom({}, env)
  assert.ok(typeof token === 'function')
  assert.equal(await token({}), 'of a command')
  assert.equal(accessFrom({}, { ...env, TUNNEL_TOKEN: 'given' }).token, 'given')
  const broken = { ...env, TUNNEL_TOKEN_COMMAND: "pass 'show" }
  assert.throws(() => accessFrom({}, broken), /a quote in TUNNEL_TOKEN_COMMAND is not closed/)
})
