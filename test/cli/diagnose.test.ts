import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { STATUS } from '../../cli/commands/diagnose.ts'
import type { DiagnosticReport } from '../../client/index.ts'
import { startWithoutWebSockets } from '../support/no-websockets.ts'
import { startProxy } from '../support/proxy.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, tunnel } from './tunnel.ts'

test('`tunnel diagnose` marks each hop, in signs that the terminal has, and ends with the status of the first that fails', async (t) => {
  const proxy = await startProxy(t)
  const dir = await tempFolder(t)
  const env = isolated(dir, {
    TUNNEL_URL: proxy.url,
    TUNNEL_TOKEN: proxy.tokenOf('alice'),
    LC_ALL: 'C.UTF-8',
  })

  const good = await tunnel(['diagnose'], { env })
  assert.equal(good.code, 0, good.stdout + good.stderr)
  assert.match(good.stdout, /^– dns +the address has no name to look up$/m)
  assert.match(good.stdout, /^✓ tcp +127\.0\.0\.1, port \d+ \(.+ ms\)$/m)
  assert.match(good.stdout, /\n\nThe way to the proxy is good\.\n$/)

  const bad = await tunnel(['diagnose', 'home'], { env: { ...env, LC_ALL: 'C' } })
  assert.equal(bad.code, 21)
  assert.match(bad.stdout, /^ok {5}hello /m)
  assert.match(
    bad.stdout,
    /^FAILED agent +you have no machine named home; you have no machine yet \(MACHINE_UNKNOWN\).*\n +start `tunnel agent/m,
  )
  assert.match(bad.stdout, /^- +sshd +the machine is not one of yours$/m)
  assert.match(bad.stdout, /The first hop that fails: agent \(agent\)\.\n$/)
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const mistyped = await tunnel(['diagnose', 'hmoe'], { env })
  assert.match(mistyped.stdout, /^✗ agent +you have no machine named hmoe; did you mean home\?/m)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: nothing else may be there.
  assert.match(bad.stdout, /^[\x00-\x7f]*$/)

  const json = await tunnel(['diagnose', '--json', '--token', 'a.b.c'], { env })
  const report = JSON.parse(json.stdout) as DiagnosticReport & { exitStatus: number }
  assert.deepEqual([json.code, report.exitStatus, report.firstFailure?.name], [16, 16, 'authentication'])
  assert.equal(report.steps.find(({ name }) => name === 'upgrade')?.status, 'ok')

  const secrets = {
    TUNNEL_JWT_SECRET: 'a secret for tokens that nobody may read',
    TUNNEL_MASTER_SECRET: 'a secret for keys "that" nobody may read',
    OTHER_PASSWORD: 'of another program',
  }
  const file = join(dir, 'bundle.json')
  const redis = ['TUNNEL_STATE_REDIS_URL', 'redis://user:hunter-2@127.0.0.1:1/'] as const
  const more = { ...secrets, [redis[0]]: redis[1], TUNNEL_STATE_STORE: 'redis' }
  const bundled = await tunnel(['diagnose', '--bundle', file], { env: { ...env, ...more } })
  assert.equal(bundled.code, 0, bundled.stderr)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  const text = readFileSync(file, 'utf8')
  const { jwt, master } = { jwt: proxy.settings.auth.secret, master: proxy.settings.ssh.masterSecret }
  for (const secret of [env.TUNNEL_TOKEN!, 'hunter-2', jwt, master, ...Object.values(secrets)])
    assert.ok(!text.includes(JSON.stringify(secret).slice(1, -1)), secret)
  const bundle = JSON.parse(text) as {
    report: DiagnosticReport
    serverSettings: { failed?: string; settings: { path: string; value: unknown }[] }
    proxy: { links: object[] }
    variables: string[]
  }
  assert.equal(bundle.report.ok, true)
  assert.equal(bundle.serverSettings.failed, undefined)
  assert.deepEqual(
    bundle.serverSettings.settings.find(({ path }) => path === 'auth.secret')?.value,
    '[masked]',
  )
  assert.ok(bundle.variables.includes('OTHER_PASSWORD') && Array.isArray(bundle.proxy.links))

  const wrong = await tunnel(['diagnose', 'no name'], { env })
  assert.deepEqual([wrong.code, wrong.stdout], [2, ''])
})

test('`tunnel diagnose` warns where HTTP streaming stands in for the WebSocket, and ends with 0', async (t) => {
  const proxy = await startProxy(t)
  const env = isolated(await tempFolder(t), {
    TUNNEL_URL: await startWithoutWebSockets(t, proxy.port),
    TUNNEL_TOKEN: proxy.tokenOf('alice'),
    LC_ALL: 'C',
  })
  const { code, stdout, stderr } = await tunnel(['diagnose'], { env })
  assert.equal(code, 0, stdout + stderr)
  assert.match(
    stdout,
    /^! upgrade +no WebSocket passes \(.*\): HTTP streaming is used instead \(CONNECT_REFUSED\)/m,
  )
  assert.match(stdout, /\n\nThe way to the proxy works, but not as it should: upgrade\.\n$/)
  const json = await tunnel(['diagnose', '--json'], { env })
  const report = JSON.parse(json.stdout) as DiagnosticReport & { exitStatus: number }
  assert.deepEqual([json.code, report.exitStatus, report.ok, report.firstFailure], [0, 0, true, undefined])
  assert.equal(report.steps.find(({ name }) => name === 'upgrade')?.status, 'warning')
})

test('docs/CONFIGURATION.md has the status of each hop', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/CONFIGURATION.md'), 'utf8')
  for (const [name, status] of Object.entries(STATUS)) assert.ok(text.includes(`${status} \`${name}\``), name)
})
