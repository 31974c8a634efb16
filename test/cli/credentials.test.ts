import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { respond, startProxy } from '../client/proxy.ts'
import { until } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

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
  for (const [line, said] of [
    ['request http://home:1/', 'is empty'],
    ['agent --machine home --ssh 127.0.0.1:1', 'is empty'],
    ['request http://home:1/', 'cannot read'],
    ['machines', 'cannot read'],
  ] as const) {
    if (said === 'cannot read') await rm(file, { force: true })
    const { code, stderr } = await tunnel(line.split(' '), { env })
    assert.equal(code, 3, stderr)
    assert.match(stderr, /^tunnel \w+: [^\n]*TOKEN_MISSING[^\n]*\n$/)
    assert.ok(stderr.includes(file) && stderr.includes(said), stderr)
  }
  assert.deepEqual(proxy.tokens, [])
})
