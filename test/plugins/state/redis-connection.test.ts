import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { EXIT } from '../../../cli/failure.ts'
import { RedisState } from '../../../plugins/state/redis.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { makeCertificate } from '../../support/certificate.ts'
import { spawnProgram } from '../../support/process.ts'
import { listenTcp, until } from '../../support/proxy.ts'
import { startRedis, startReplicated } from '../../support/redis.ts'
import { requireSystem } from '../../support/system.ts'
import { TUNNEL_CLI } from '../../support/topology.ts'
import { tempFolder } from '../../support/tree.ts'

const skip = requireSystem('redis-server')
const AWAY = { code: 'STATE_UNAVAILABLE' }

test('a Redis that lets us not in, or is not there, stops the start with one error that has no password', {
  skip,
}, async (t) => {
  const redis = await startRedis(t)
  const start = (url: string) => RedisState.open({ url, staleMs: 1_000, failed() {} })
  const wrong = 'wrong-password'
  const refusals: [url: string, code: string, told: RegExp][] = [
    [redis.url.replace(redis.password, wrong), 'CONFIG_INVALID', /does not let us in/],
    [redis.url.replace('tunnel:', 'nobody:'), 'CONFIG_INVALID', /does not let us in/],
    [redis.url.replace(String(redis.port), '1'), 'STATE_UNAVAILABLE', /ECONNREFUSED [\d.:]+$/],
    [redis.url.replace('redis:', 'rediss:'), 'STATE_UNAVAILABLE', /begins with redis:/],
  ]
  for (const [url, code, told] of refusals) {
    await assert.rejects(start(url), (error: unknown) => {
      assert.ok(error instanceof TunnelError)
      assert.equal(error.code, code, error.message)
      assert.match(error.message, told)
      const text = inspect(error, { depth: 10, showHidden: true })
      assert.ok(!text.includes(wrong) && !text.includes(redis.password), text)
      return true
    })
  }
  redis.program.kill('SIGSTOP')
  try {
    await assert.rejects(start(redis.url), AWAY)
  } finally {
    redis.program.kill('SIGCONT')
  }
})

/** Longer than Redis may take for anything. */
const standStill = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)

test('what an event loop has no time to read is not held against Redis, when it dials and when it asks', {
  skip,
}, async (t) => {
  const redis = await startRedis(t)
  const open = async (url: string) => {
    const opening = RedisState.open({ url, staleMs: 300_000, failed() {} })
    opening.catch(() => {})
    await new Promise(setImmediate)
    standStill()
    return opening
  }
  await assert.rejects(open(redis.url.replace(redis.password, 'wrong')), { code: 'CONFIG_INVALID' })
  const state = await open(redis.url)
  t.after(() => state.close())
  // A script that is not there any more: the first answer says so, and the second is the one.
  await state.put('pin', 'home', 'first')
  await redis.admin.script('FLUSH')
  const put = state.put('pin', 'home', 'second')
  standStill()
  await put
  assert.equal(await state.get('pin', 'home'), 'second')
})

test('a start whose first question Redis answers late asks again', { skip }, async (t) => {
  const server = await startRedis(t)
  let asked = 0
  const relay = await listenTcp(t, (socket) => {
    const upstream = connect(server.port, '127.0.0.1')
    t.after(() => upstream.destroy())
    socket.on('error', () => upstream.destroy())
    upstream.on('error', () => socket.destroy())
    socket.on('data', (bytes) => {
      if (/subscribe/i.test(String(bytes)) && ++asked > 1) upstream.resume()
      // The answer to the first is held back until it is asked again.
      else if (asked === 1) upstream.pause()
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => socket.write(bytes))
  })
  const url = server.url.replace(`127.0.0.1:${server.port}`, relay)
  const state = await RedisState.open({ url, staleMs: 300_000, failed() {} })
  t.after(() => state.close())
  assert.equal(asked, 2)
  await state.put('pin', 'home', 'kept')
})

test('a Redis that was late is asked again when it goes on, also by a user who may not PING', {
  skip,
}, async (t) => {
  const server = await startRedis(t)
  const state = await RedisState.open({ url: server.url, staleMs: 300_000, failed() {} })
  t.after(() => state.close())
  await state.put('pin', 'home', 'kept')
  await server.admin.acl('SETUSER', 'tunnel', '-ping')
  server.program.kill('SIGSTOP')
  t.after(() => server.program.kill('SIGCONT'))
  await assert.rejects(state.get('pin', 'home'), AWAY)
  server.program.kill('SIGCONT')
  await until(async () => (await state.get('pin', 'home').catch(() => undefined)) === 'kept')
})

test('with Sentinels a master that is killed is replaced by its copy, and what was confirmed is there', {
  skip,
}, async (t) => {
  const { master, copy, sentinel } = await startReplicated(t)
  // Where the master is they say alone.
  const url = master.url.replace(String(master.port), '1')
  const sentinels = { addresses: ['127.0.0.1:1', sentinel], master: 'mymaster' }
  const state = await RedisState.open({ url, sentinels, staleMs: 300_000, failed() {} })
  t.after(() => state.close())
  await state.put('pin', 'home', 'kept')
  await master.admin.wait(1, 10_000)
  const limit = { perMinute: 1, burst: 3 }
  assert.equal((await state.takeToken('u', limit)).remaining, 2)
  await master.admin.wait(1, 10_000)
  master.program.kill('SIGKILL')
  await until(async () => {
    try {
      await state.put('pin', 'work', 'new')
      return true
    } catch (error) {
      assert.equal((error as TunnelError).code, AWAY.code)
      return false
    }
  }, 60_000)
  assert.equal(await state.get('pin', 'home'), 'kept')
  assert.equal((await state.takeToken('u', limit)).remaining, 1)
  assert.ok((await copy.admin.info('replication')).includes('role:master'))
})

test('over TLS Redis has to show a certificate that is trusted, and for the name in the address', {
  skip: skip ?? requireSystem('openssl'),
}, async (t) => {
  const tls = await makeCertificate(t)
  assert.ok(tls)
  const server = await startRedis(t, { tls })
  const url = server.url.replace('127.0.0.1', 'localhost')
  const folder = await tempFolder(t, 'rediss')
  /** A proxy of its own: which authorities are trusted is said to a process at its start. */
  const start = (redisUrl: string, more: NodeJS.ProcessEnv) =>
    spawnProgram(t, process.execPath, [TUNNEL_CLI, 'server', '--port', '0'], {
      env: {
        ...process.env,
        ...{ HOME: folder, TUNNEL_STATE_DIR: folder, TUNNEL_STATE_STORE: 'redis' },
        ...{ TUNNEL_STATE_REDIS_URL: redisUrl, ...more },
      },
    })
  const plain = { url: url.replace('rediss:', 'redis:'), staleMs: 1_000, failed() {} }
  await assert.rejects(RedisState.open(plain), { ...AWAY, message: /begins with rediss:/ })
  const trusting = { NODE_EXTRA_CA_CERTS: tls.certFile }
  const proxy = start(url, trusting)
  await proxy.line(/listening at/)
  await proxy.stop()
  for (const [redisUrl, env] of [
    [url, {}],
    [server.url, trusting],
  ] as const) {
    const refused = start(redisUrl, env)
    assert.equal((await refused.exit).code, EXIT.unreachable)
    assert.match(refused.stderr, /STATE_UNAVAILABLE/)
    assert.ok(!(refused.stderr + refused.stdout).includes(server.password))
  }
})
