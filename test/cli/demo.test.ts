import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { newKeyPair } from '../../testing/ssh-server.ts'
import { deferred, startProxy } from '../client/proxy.ts'
import { descendants, ended, killTree } from '../support/proc.ts'
import { spawnProgram } from '../support/process.ts'
import { requireSystem } from '../support/sshd.ts'
import { BUILT_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

/** What the demo left. */
const leftovers = (folder: string) => readdir(folder)

test('the demo shows every step and leaves nothing behind', {
  skip: requireSystem('sshd', 'ssh'),
}, async (t) => {
  const temporary = await tempFolder(t, 'demo-test')
  const { code, stdout, stderr } = await tunnel(['demo'], {
    env: isolated('/nowhere', { TMPDIR: temporary, npm_lifecycle_event: 'demo' }),
  })
  assert.equal(code, 0, stdout + stderr)
  assert.match(stdout, /hello from/)
  assert.match(stdout, /same checksum on both sides; \d+ MiB\/s/)
  assert.match(stdout, /resumed after \d+\.\d s, nothing lost: 1 to 40, each once, exit status 0/)
  assert.match(stdout, /home +on line/)
  assert.match(stdout, /tunnel_bytes_total/)
  assert.match(stdout, /npx tunnel ssh home/)
  assert.equal(stdout.includes(String.fromCharCode(27)), false)
  assert.deepEqual(await leftovers(temporary), [])
})

test('with the embedded SSH server and client it does the same, and tells a program what it found', async (t) => {
  const temporary = await tempFolder(t, 'demo-test')
  const env = isolated('/nowhere', { TMPDIR: temporary })
  const { code, stdout, stderr } = await tunnel(['demo', '--embedded', '--json'], { env })
  assert.equal(code, 0, stdout + stderr)
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: { ok: boolean; text: string }[] }
  assert.equal(ok, true)
  assert.ok(findings.length >= 6 && findings.every((finding) => finding.ok))
  assert.ok(findings.some(({ text }) => /same checksum on both sides/.test(text)))
  assert.deepEqual(await leftovers(temporary), [])
})

test('with --cluster proxies are replaced under an ssh that goes on, in lines that fit a terminal; Ctrl-C leaves nothing', {
  skip: requireSystem('redis-server'),
}, async (t) => {
  const temporary = await tempFolder(t, 'demo-test')
  const env = isolated('/nowhere', { TMPDIR: temporary })
  const demo = startTunnel(t, ['demo', '--embedded', '--cluster'], { env })
  await demo.line(/replica-4 for replica-1, gone in .* longest pause \d+ ms/)
  const children = descendants(demo.pid)
  demo.kill('SIGINT')
  assert.deepEqual(await demo.exit, { code: 130, signal: null })
  await ended(children)
  assert.deepEqual(await leftovers(temporary), [])
  assert.match(demo.stdout, /ok: 3 replicas, each linked to each, and one machine at two of them/)
  assert.doesNotMatch(demo.stdout, /FAILED|.{81}/)
})

test('where there is no redis-server, --cluster says so and what helps, and starts nothing', {
  // It looks there whatever the PATH.
  skip: ['/usr/sbin', '/usr/local/sbin', '/sbin'].some((folder) => existsSync(join(folder, 'redis-server'))),
}, async (t) => {
  const temporary = await tempFolder(t, 'demo-test')
  const env = isolated('/nowhere', { TMPDIR: temporary, PATH: '/nowhere' })
  const { code, stdout, stderr } = await tunnel(['demo', '--embedded', '--cluster'], { env })
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(
    stderr,
    /^tunnel demo: .*redis-server is not installed \(REDIS_MISSING\): install it.*, or run `tunnel demo`, which needs none\n$/,
  )
  assert.deepEqual(await leftovers(temporary), [])
})

test("the demo's own ssh does not leave what carries it, also while that waits for a proxy", async (t) => {
  const opened = deferred<void>()
  const proxy = await startProxy(t, {
    onStream: (stream) => {
      stream.accept()
      opened.resolve()
    },
  })
  const folder = await tempFolder(t, 'demo-test')
  const env = isolated(folder, { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: 'x' })
  const key = join(folder, 'key')
  await writeFile(key, newKeyPair('a key').private)
  const program = join(dirname(BUILT_CLI), 'demo', 'embedded-ssh.js')
  const ssh = spawnProgram(t, process.execPath, [program, key, 'somebody', 'home', 'true'], { env })
  await opened.promise
  const children = descendants(ssh.pid)
  assert.ok(children.length > 0)
  t.after(() => {
    for (const child of children) killTree(child)
  })
  await proxy.close()
  ssh.kill()
  await ended([ssh.pid, ...children])
})

test('Ctrl-C ends the demo at any step, and nothing is left', async (t) => {
  for (const step of [/the proxy:/, /^2\. /]) {
    const temporary = await tempFolder(t, 'demo-test')
    const demo = startTunnel(t, ['demo', '--embedded'], { env: isolated('/nowhere', { TMPDIR: temporary }) })
    await demo.line(step)
    const children = descendants(demo.pid)
    assert.ok(children.length > 0)
    demo.kill('SIGINT')
    assert.deepEqual(await demo.exit, { code: 130, signal: null })
    await ended(children)
    assert.deepEqual(await leftovers(temporary), [])
    assert.doesNotMatch(demo.stdout, /FAILED/)
  }
})
