import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFile, stat, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import test from 'node:test'
import { connect } from 'node:tls'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { decodeJson, encodeFrame, FrameType } from '../../protocol/codec/frames.ts'
import { RawClient } from '../plugins/links/raw-client.ts'
import { type Certificate, makeCertificate } from '../support/certificate.ts'
import { drop, listenTcp, until } from '../support/proxy.ts'
import { requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

test('the proxy logs JSON lines in a pipe, and ends with status 0 when asked', async (t) => {
  const env = isolated(join(await tempFolder(t), 'state'))
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const proxy = startTunnel(t, ['server', '--port', '0'], { env })
    await proxy.line(/listening/i)
    proxy.kill(signal)
    assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
    assert.equal(proxy.stderr, '')
    for (const line of proxy.stdout.trim().split('\n')) {
      const { timestamp, level, message } = JSON.parse(line)
      assert.ok(Number.isFinite(Date.parse(timestamp)) && level.length > 0 && message.length > 0, line)
    }
  }
})

test('SIGTERM says GOAWAY with its deadline, and cuts nobody before the clients have moved', async (t) => {
  const env = isolated(join(await tempFolder(t), 'state'))
  const proxy = startTunnel(t, ['server', '--port', '0', '--set', 'shutdown.serverMs=25000'], { env })
  const [, url = ''] = await proxy.line(/listening.*(http:\/\/127\.0\.0\.1:\d+)/i)
  const token = (await tunnel(['token', '--sub', 'alice'], { env })).stdout.trim()
  const client = await new RawClient(t, { url, token }).hello()
  const enrol = { hostKeys: [], sshUser: 'me' }
  const agent = await new RawClient(t, { url, token, route: 'agent' }).hello({
    role: 'agent',
    machine: 'home',
    enrol,
  })
  proxy.kill('SIGTERM')
  for (const peer of [client, agent]) {
    const goaway = decodeJson(await peer.frame((frame) => frame[0] === FrameType.GOAWAY))
    const { code, deadlineMs } = goaway as { code: string; deadlineMs: number }
    assert.equal(code, 'SHUTTING_DOWN')
    // What is left of it when it is said: never the 30 s of the default.
    assert.ok(deadlineMs > 0 && deadlineMs <= 25_000, String(deadlineMs))
    // It is still there for whoever moves.
    peer.send(encodeFrame(FrameType.PING, 0, Buffer.from('stillup?')))
    const isAnswer = (frame: Buffer) => frame[0] === FrameType.PONG && frame.includes('stillup?')
    await peer.frame(isAnswer)
  }
  client.socket.close()
  assert.equal((await agent.closed).code, 1012)
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
})

test('SIGHUP takes changed rules, limits and certificates while a stream goes on, and nothing of a file that is wrong', {
  skip: requireSystem('openssl'),
}, async (t) => {
  const folder = await tempFolder(t)
  const [one, other] = (await Promise.all([makeCertificate(t), makeCertificate(t)])) as [
    Certificate,
    Certificate,
  ]
  const [cert, key, file] = ['cert.pem', 'key.pem', 'tunnel.json'].map((name) => join(folder, name)) as [
    ...[string, string, string],
  ]
  const certificateOf = async (from: Certificate): Promise<void> => {
    await copyFile(from.keyFile, key)
    await copyFile(from.certFile, cert)
  }
  const settingsAre = (more: object) =>
    writeFile(file, JSON.stringify({ server: { tls: { cert, key } }, ...more }))
  await certificateOf(one)
  await settingsAre({})
  const env = isolated(join(folder, 'state'))
  const proxy = startTunnel(t, ['server', '--port', '0', '--config', file], { env })
  const [, port = ''] = await proxy.line(/listening at https:.*:(\d+)/)
  const url = `https://localhost:${port}`
  const token = (await tunnel(['token', '--sub', 'alice', '--tier', 'enterprise'], { env })).stdout.trim()
  const settings = { tls: { ca: one.certFile } }
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  const agent = new Agent({
    ...{ urls: [url], machine: 'home', token, ssh: echo, settings: resolveSettings({}, 'default', settings) },
  })
  t.after(() => agent.close())
  await agent.start()
  const client = new TunnelService({ url, token, settings })
  t.after(() => client.disconnect(0))
  await client.connect()
  const open = () => client.open({ machine: 'home', kind: 'ssh' })
  const live = await open()
  t.after(() => drop(live))
  const stillEchoes = async (): Promise<void> => {
    live.write('still here')
    assert.equal(String((await once(live, 'data'))[0]), 'still here')
  }
  const shown = async (): Promise<string> => {
    const socket = connect({
      port: Number(port),
      host: '127.0.0.1',
      servername: 'localhost',
      rejectUnauthorized: false,
    })
    await once(socket, 'secureConnect')
    const { fingerprint256 } = socket.getPeerCertificate()
    socket.destroy()
    return fingerprint256
  }
  await stillEchoes()
  const before = await shown()

  await certificateOf(other)
  await settingsAre({
    log: { level: 'debug' },
    policy: { rules: [{ effect: 'deny', users: ['alice'] }] },
    rateLimit: { tiers: { free: { perMinute: 7 } } },
  })
  proxy.kill('SIGHUP')
  const [line = ''] = await proxy.line(/.*the settings were read again.*/)
  const { context } = JSON.parse(line) as { context: { changed: string[] } }
  assert.deepEqual(context.changed.sort(), ['log.level', 'policy.rules', 'rateLimit.tiers.free.perMinute'])
  await assert.rejects(open(), { code: 'POLICY_DENIED' })
  await stillEchoes()
  await until(async () => (await shown()) !== before)

  await writeFile(file, '{"policy": {"rules": "none"}, "log": {"level": "error"}}')
  proxy.kill('SIGHUP')
  await proxy.line('those that held still hold')
  await assert.rejects(open(), { code: 'POLICY_DENIED' })
  await settingsAre({})
  proxy.kill('SIGHUP')
  await until(() => proxy.stdout.split('the settings were read again').length === 3)
  ;(await open()).destroy()
  await stillEchoes()
  // Before the authority's file goes, by which they would dial again.
  await client.disconnect(0)
  await agent.close()
})

test('the first start makes secrets that only their owner can read, and the CLI signs with them', async (t) => {
  const state = join(await tempFolder(t), 'state')
  const env = isolated(state)
  const before = await tunnel(['token', '--sub', 'alice'], { env })
  assert.equal(before.code, 2)
  assert.match(before.stderr, /no secret to sign with/)
  const proxy = startTunnel(t, ['server', '--port', '0'], { env })
  await proxy.line(/listening/i)
  assert.equal((await stat(join(state, 'secrets.json'))).mode & 0o777, 0o600)
  const after = await tunnel(['token', '--sub', 'alice', '--json', '--ttl', '2h', '--role', 'agent'], { env })
  const { sub, roles, token, expiresAt } = JSON.parse(after.stdout)
  assert.deepEqual([sub, roles, token.split('.').length], ['alice', ['agent'], 3])
  assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 7_200_000) < 60_000)
  // As the server may have been started itself.
  const elsewhere = isolated(join(await tempFolder(t), 'other'))
  const settings = ['--set', `state.dir=${state}`, '--set', 'auth.issuer=us']
  const { stdout } = await tunnel(['token', '--sub', 'alice', ...settings], { env: elsewhere })
  const claims = JSON.parse(String(Buffer.from(stdout.split('.')[1] ?? '', 'base64url'))) as { iss: string }
  assert.equal(claims.iss, 'us')
})

test('a port in use is one line and status 2', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.after(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const env = isolated(join(await tempFolder(t), 'state'))
  const { code, stderr } = await tunnel(['server', '--port', String(port)], { env })
  assert.equal(code, 2)
  assert.match(
    stderr,
    new RegExp(`^tunnel server: port ${port} of 127\\.0\\.0\\.1 is in use[^\\n]*CONFIG_INVALID[^\\n]*\\n$`),
  )
})

test('tunnel config tells the settings and where each came from, without secrets', async (t) => {
  const env = isolated(await tempFolder(t), {
    TUNNEL_LOG_LEVEL: 'debug',
    TUNNEL_JWT_SECRET: 'this secret must never be shown anywhere',
  })
  const { code, stdout, stderr } = await tunnel(
    ['config', '--profile', 'unstable-network', '--set', 'pool.maxPerUser=2'],
    { env },
  )
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^log\.level +"debug" +environment TUNNEL_LOG_LEVEL$/m)
  assert.match(stdout, /^heartbeat\.timeoutMs +10000 +profile unstable-network$/m)
  assert.match(stdout, /^pool\.maxPerUser +2 +flag --set$/m)
  assert.match(stdout, /^server\.port +3001 +default$/m)
  assert.doesNotMatch(stdout, /must never be shown/)
})
