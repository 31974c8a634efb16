import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeAt, settingsOf } from '../../config/nodes.ts'
import { variableOf } from '../../config/variables.ts'
import { CLIENT_ROOT, JWT, jsonFile, KEY, load, MASTER, problemsOf, ROOT, valueAt } from './loading.ts'

test('the defaults are those of the contract', () => {
  const { settings } = load()
  const { heartbeat, backoff, queue, request, streams, compression, limits, pool, breaker, shutdown } =
    settings
  assert.deepEqual(heartbeat, { intervalMs: 30_000, timeoutMs: 45_000 })
  assert.deepEqual(backoff, { baseMs: 2_000, multiplier: 2, jitter: 0.3, maxMs: 60_000, maxAttempts: 10 })
  assert.equal(queue.maxRequests, 1_000)
  assert.equal(queue.backpressureAt, 0.8)
  assert.equal(request.timeoutMs, 30_000)
  assert.equal(request.slowMs, 5_000)
  assert.deepEqual(streams, {
    windowBytes: 262_144,
    maxWindowBytes: 8_388_608,
    resumeMs: 120_000,
    maxPerLink: 256,
    userBudgetBytes: 67_108_864,
  })
  assert.deepEqual(compression, { enabled: false, thresholdBytes: 1_024 })
  assert.deepEqual(limits, { maxFrameBytes: 1_048_576 })
  assert.equal(settings.rateLimit.perIpPerMinute, 600)
  const perMinute = Object.entries(settings.rateLimit.tiers).map(([tier, limit]) => [tier, limit.perMinute])
  assert.deepEqual(Object.fromEntries(perMinute), { free: 100, premium: 1_000, enterprise: 10_000 })
  const { maxPerUser, channelsPerConnection, idleMs, keepAliveMs, waitMs } = pool
  assert.deepEqual(
    [maxPerUser, channelsPerConnection, idleMs, keepAliveMs, waitMs],
    [3, 10, 300_000, 60_000, 10_000],
  )
  assert.deepEqual([breaker.failures, breaker.openMs, breaker.halfOpenRequests], [5, 60_000, 1])
  assert.equal(settings.ssh.connectTimeoutMs, 10_000)
  assert.equal(settings.ssh.compression, false)
  assert.deepEqual(shutdown, { serverMs: 30_000, clientMs: 10_000 })
  const { server } = settings
  assert.deepEqual(server, { host: '127.0.0.1', port: 3001, trustProxy: false, origins: [], docs: true })
  assert.equal(settings.state.store, 'embedded')
  assert.equal(settings.state.dir, '/nonexistent/.local/state/ssh-websocket-tunnel')
  assert.equal(settings.log.level, 'info')
  assert.deepEqual(settings.policy.rules, [])
  assert.deepEqual(settings.machines, {})
})

test('the state folder follows XDG_STATE_HOME when that is absolute, and TUNNEL_STATE_DIR before it', () => {
  const dirOf = (env: Record<string, string>) => load({ env }).settings.state.dir
  assert.equal(dirOf({ XDG_STATE_HOME: '/x' }), '/x/ssh-websocket-tunnel')
  assert.equal(dirOf({ XDG_STATE_HOME: 'x' }), '/nonexistent/.local/state/ssh-websocket-tunnel')
  assert.equal(dirOf({ XDG_STATE_HOME: '/x', TUNNEL_STATE_DIR: '/y' }), '/y')
  assert.equal(load({ env: { TUNNEL_STATE_DIR: '/y' }, stateDir: '/z' }).settings.state.dir, '/z')
})

test('flags beat the environment, which beats the file, which beats the profile, which beats the defaults', (t) => {
  const file = jsonFile(t, {
    heartbeat: { intervalMs: 4_000 },
    backoff: { baseMs: 700 },
    log: { level: 'warn' },
  })
  const from = {
    profile: 'unstable-network',
    file,
    env: { TUNNEL_LOG_LEVEL: 'debug', TUNNEL_HEARTBEAT_INTERVAL_MS: '5_000' },
    flags: ['heartbeat.intervalMs=6000', { name: '--port', path: 'server.port', value: '0' }],
  }
  const { settings, sources } = load(from)
  assert.deepEqual(
    [settings.heartbeat.intervalMs, settings.log.level, settings.backoff.baseMs, settings.backoff.maxMs],
    [6_000, 'debug', 700, 15_000],
  )
  assert.equal(settings.server.port, 0)
  assert.equal(settings.pool.maxPerUser, 3)
  assert.equal(sources.get('heartbeat.intervalMs'), 'flag --set')
  assert.equal(sources.get('server.port'), 'flag --port')
  assert.equal(sources.get('log.level'), 'environment TUNNEL_LOG_LEVEL')
  assert.equal(sources.get('backoff.baseMs'), `file ${file}`)
  assert.equal(sources.get('backoff.maxMs'), 'profile unstable-network')
  assert.equal(sources.get('pool.maxPerUser'), undefined)
  assert.equal(load({ ...from, flags: [] }).settings.heartbeat.intervalMs, 5_000)
  assert.equal(load({ ...from, flags: [], env: {} }).settings.heartbeat.intervalMs, 4_000)
  assert.equal(load({ profile: 'unstable-network' }).settings.heartbeat.intervalMs, 3_000)
})

test('every setting can be given by a variable, and no two share one', () => {
  const variables = [...settingsOf(ROOT)].map(([path]) => variableOf(path))
  assert.equal(new Set(variables).size, variables.length)
  assert.equal(variableOf(['rateLimit', 'perIpPerMinute']), 'TUNNEL_RATE_LIMIT_PER_IP_PER_MINUTE')
  const { settings } = load({
    env: { TUNNEL_RATE_LIMIT_TIERS_FREE_BURST: '7', TUNNEL_SERVER_TRUST_PROXY: '10.0.0.0/8' },
  })
  assert.equal(settings.rateLimit.tiers.free.burst, 7)
  assert.deepEqual(settings.server.trustProxy, ['10.0.0.0/8'])
})

test("other people's variables are left alone, ours that are no settings too", () => {
  load({
    env: {
      TUNNEL_HOSTNAME: 'x',
      TUNNEL_EDGE_IP_VERSION: '4',
      TUNNEL_URL: 'wss://x',
      TUNNEL_TOKEN: 'x',
      HOME: '/h',
    },
  })
})

test('machines can be given whole or by the part, in a file, a variable and a flag', (t) => {
  const file = jsonFile(t, {
    machines: { home: { host: '10.0.0.5', user: 'pi', hostKey: KEY, owners: ['alice'] } },
  })
  const { settings } = load({
    file,
    env: {
      TUNNEL_MACHINES: `{"office":{"host":"10.0.0.6","user":"root","hostKey":"${KEY}","owners":["bob"]}}`,
    },
    flags: ['machines.home.port=2222'],
  })
  const { home, office } = settings.machines
  assert.deepEqual([home?.host, home?.port, home?.user], ['10.0.0.5', 2222, 'pi'])
  assert.deepEqual([office?.host, office?.port, office?.user], ['10.0.0.6', 22, 'root'])
  const problems = problemsOf({ flags: ['machines.home.port=22', 'machines.__proto__.host=x'] })
  assert.deepEqual(
    problems
      .filter(({ kind }) => kind === 'missing')
      .map(({ path }) => path.split('.').slice(0, 2).join('.')),
    problems.filter(({ kind }) => kind === 'missing').map(() => 'machines.home'),
  )
  assert.ok(problems.some(({ path, kind }) => path === 'machines.home.host' && kind === 'missing'))
  assert.ok(problems.some(({ path, kind }) => path === 'machines.__proto__.host' && kind === 'unknown'))
  const [misnamed] = problemsOf({ flags: ['machines.My Box.host=x'] })
  assert.match(misnamed?.reason ?? '', /"My Box" is not a valid name; names match \^\[a-z0-9\]/)
})

test('every setting that the documentation names is taken, with its default', () => {
  for (const [path, node] of settingsOf(ROOT)) {
    // TLS is whole or absent.
    if (!('default' in node) || node.secret === true || path[1] === 'tls') continue
    const text = typeof node.default === 'string' ? node.default : JSON.stringify(node.default)
    assert.deepEqual(
      valueAt(load({ flags: [`${path.join('.')}=${text}`] }).settings, path.join('.')),
      node.default,
    )
  }
})

test('the store redis needs an address of Redis, whose password is never shown', () => {
  const reasonOf = (...flags: string[]): string => {
    const problems = problemsOf({ flags })
    assert.ok(!JSON.stringify(problems).includes('hunter2'))
    assert.deepEqual(new Set(problems.map(({ path }) => path)).size, 1)
    return problems[0]?.reason ?? ''
  }
  assert.match(reasonOf('state.store=mongo'), /must be one of "embedded", "redis"/)
  assert.match(reasonOf('state.redisUrl=redis://user:hunter2@x'), /needs state\.store = redis/)
  for (const url of [
    '',
    'x',
    'http://:hunter2@x',
    'redis://',
    'redis://:hunter2@x/a',
    'redis://:hunter2@x?db=1',
  ])
    assert.match(reasonOf('state.store=redis', `state.redisUrl=${url}`), /must be redis:\/\/ or rediss:\/\//)
  const shownOf = (url: string) =>
    problemsOf({ flags: ['state.store=redis', `state.redisUrl=${url}`] })[0]?.value
  assert.deepEqual(['', 'x'].map(shownOf), ['""', '"[masked]"'])
  const warningsOf = (url: string) =>
    load({ flags: ['state.store=redis'], env: { TUNNEL_STATE_REDIS_URL: url } }).warnings
  assert.match(warningsOf('redis://user:hunter2@redis.example/0').join(), /no TLS/)
  assert.deepEqual(warningsOf('rediss://user:hunter2@redis.example:6380/3'), [])
  assert.deepEqual(warningsOf('redis://localhost'), [])
})

test('a replica needs the secret of its cluster, Redis, and a way to be found, or does not start', () => {
  const enough = ['state.store=redis', 'cluster.enabled=true', 'cluster.url=http://localhost:3002']
  const env = { TUNNEL_STATE_REDIS_URL: 'redis://localhost', TUNNEL_CLUSTER_SECRET: 's'.repeat(32) }
  const problems = (flags: string[], more: NodeJS.ProcessEnv = {}) =>
    problemsOf({ flags, env: { ...env, ...more } }).map(({ path, reason }) => `${path} ${reason}`)
  load({ flags: enough, env })
  for (const secret of [undefined, '', 's'.repeat(31)]) {
    const [problem, ...others] = problems(enough, { TUNNEL_CLUSTER_SECRET: secret })
    assert.match(String(problem), /^cluster\.secret must be at least 32 bytes long/)
    assert.deepEqual(others, [])
  }
  const alone = problems(enough.slice(1), { TUNNEL_STATE_REDIS_URL: undefined })
  assert.match(alone.join(), /^cluster\.enabled needs state\.store = redis/)
  assert.match(problems(enough.slice(0, 2)).join(), /^cluster\.enabled needs cluster\.url or cluster\.peers/)
  for (const wrong of ['cluster.url=localhost:3002', 'cluster.peers=["http://x:1/path"]'])
    assert.match(problems([...enough, wrong]).join(), /^cluster\.(url|peers) must be http:\/\/host:port/)
})

test('the effective settings are explained with their sources, and no secret among them', () => {
  const { explain } = load({
    profile: 'unstable-network',
    flags: [
      'metrics.token=hunter2hunter2hunter2',
      `machines.home={"host":"h","user":"u","hostKey":"${KEY}","owners":["alice"]}`,
    ],
  })
  const explained = explain()
  const of = (path: string) => explained.find((setting) => setting.path === path)
  assert.deepEqual(of('heartbeat.timeoutMs'), {
    path: 'heartbeat.timeoutMs',
    value: 10_000,
    source: 'profile unstable-network',
  })
  assert.equal(of('pool.waitMs')?.source, 'default')
  assert.equal(of('machines')?.source, 'flag --set')
  assert.equal(of('auth.secret')?.value, '[masked]')
  assert.equal(of('auth.secret')?.source, 'environment TUNNEL_JWT_SECRET')
  const text = JSON.stringify(explained)
  for (const secret of [JWT, MASTER, 'hunter2']) assert.ok(!text.includes(secret))
})

test('a setting that client and server share has one default', () => {
  for (const [path, node] of settingsOf(CLIENT_ROOT)) {
    assert.deepEqual(nodeAt(ROOT, path)?.default, node.default, path.join('.'))
  }
})
