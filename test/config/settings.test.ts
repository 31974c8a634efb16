import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ClientSettings } from '../../client/options.ts'
import { loadSettings as loadResolvedSettings } from '../../client/profiles.ts'
import { loadClientSettings } from '../../config/client.ts'
import {
  ConfigError,
  type LoadOptions,
  loadSettings,
  PROFILES,
  type Problem,
  type Profile,
  SettingsSchema,
} from '../../config/index.ts'
import { nodeAt, type SchemaNode, settingsOf } from '../../config/nodes.ts'
import { variableOf } from '../../config/variables.ts'

const ROOT = SettingsSchema as unknown as SchemaNode
const CLIENT_ROOT = ClientSettings as unknown as SchemaNode
const JWT = 'j'.repeat(32)
const MASTER = 'm'.repeat(32)
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA'
const SECRETS = { TUNNEL_JWT_SECRET: JWT, TUNNEL_MASTER_SECRET: MASTER }

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunnel-config-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Loads with secrets given and nothing taken from the process that runs the tests. */
function load(options: LoadOptions = {}) {
  return loadSettings({ ...options, env: { HOME: '/nonexistent', ...SECRETS, ...options.env } })
}

/** The setting at 'a.b'. */
function valueAt(tree: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], tree)
}

function problemsOf(options: LoadOptions): readonly Problem[] {
  try {
    load(options)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    assert.equal(error.code, 'CONFIG_INVALID')
    for (const problem of error.problems) assert.ok(error.message.includes(problem.reason))
    return error.problems
  }
  return assert.fail('nothing was refused')
}

function jsonFile(t: TestContext, content: unknown): string {
  const file = join(folder(t), 'settings.json')
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}

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

test('all mistakes are named at once, each with its path, value, source and what is allowed', (t) => {
  const file = jsonFile(t, {
    heartbeat: { intervallMs: 5 },
    pool: { maxPerUser: 'three', idleMs: -1 },
    pol: {},
    backoff: 5,
    policy: { rules: [{ effect: 'maybe' }] },
  })
  const problems = problemsOf({
    file,
    env: { TUNNEL_SERVER_PORT: '3001x', TUNNEL_COMPRESSION_ENABLED: 'yes', TUNNEL_HEARTBEAT_INTERVALMS: '5' },
    flags: ['log.level=loud', 'server.port', 'nothing.at=all'],
  })
  const told = problems.map(({ path, value, source }) => [path, value, source])
  const by = `file ${file}`
  for (const expected of [
    ['heartbeat.intervallMs', '5', by],
    ['pool.maxPerUser', '"three"', by],
    ['pool.idleMs', '-1', by],
    ['pol', '{}', by],
    ['backoff', '5', by],
    ['policy.rules[0].effect', '"maybe"', by],
    ['server.port', '"3001x"', 'environment TUNNEL_SERVER_PORT'],
    ['compression.enabled', '"yes"', 'environment TUNNEL_COMPRESSION_ENABLED'],
    ['TUNNEL_HEARTBEAT_INTERVALMS', '"5"', 'environment'],
    ['log.level', '"loud"', 'flag --set'],
    ['', undefined, 'flag --set'],
    ['nothing.at', '"all"', 'flag --set'],
  ]) {
    assert.ok(
      told.some((one) => JSON.stringify(one) === JSON.stringify(expected)),
      `${JSON.stringify(expected)} is not in ${JSON.stringify(told)}`,
    )
  }
  assert.equal(problems.length, 12)
  const reasonOf = (path: string) => problems.find((problem) => problem.path === path)?.reason ?? ''
  assert.match(reasonOf('heartbeat.intervallMs'), /did you mean heartbeat\.intervalMs\?/)
  assert.match(reasonOf('pol'), /did you mean po(ol|licy)\?/)
  assert.match(reasonOf('TUNNEL_HEARTBEAT_INTERVALMS'), /did you mean TUNNEL_HEARTBEAT_INTERVAL_MS\?/)
  assert.match(reasonOf('server.port'), /a whole number from 0 to 65535/)
  assert.match(reasonOf('log.level'), /one of "error", "warn"/)
  assert.match(reasonOf('backoff'), /an object of baseMs, multiplier/)
})

test('a mistake that a stronger source overrides is a mistake all the same', (t) => {
  const file = jsonFile(t, { server: { port: 'x' } })
  const problems = problemsOf({ file, flags: ['server.port=3001'] })
  assert.deepEqual(
    problems.map(({ path, source }) => [path, source]),
    [['server.port', `file ${file}`]],
  )
})

test('settings that contradict each other are refused, and both are named', () => {
  const broken = (flags: string[]) =>
    problemsOf({ flags }).map(({ path, kind, reason }) => [path, kind, reason])
  assert.deepEqual(broken(['heartbeat.intervalMs=45000']), [
    ['heartbeat.timeoutMs', 'rule', 'must be more than heartbeat.intervalMs, which is 45000 (flag --set)'],
  ])
  assert.deepEqual(broken(['backoff.maxMs=1999', 'streams.windowBytes=8388609']), [
    ['backoff.maxMs', 'rule', 'must be at least backoff.baseMs, which is 2000 (default)'],
    ['streams.maxWindowBytes', 'rule', 'must be at least streams.windowBytes, which is 8388609 (flag --set)'],
  ])
  load({ flags: ['heartbeat.intervalMs=44999', 'backoff.maxMs=2000', 'streams.windowBytes=8388608'] })
})

test('a file that is not there, not JSON or not an object is named, without showing what is in it', (t) => {
  const missing = problemsOf({ file: '/nonexistent/settings.json' })
  assert.match(missing[0]?.reason ?? '', /ENOENT/)
  for (const content of ['{"auth": {"secret": "hunter2hunter2', '[1]', '"text"', '']) {
    const file = jsonFile(t, content)
    const problems = problemsOf({ file })
    assert.equal(problems.length, 1, content)
    assert.equal(problems[0]?.source, `file ${file}`)
    assert.doesNotMatch(JSON.stringify(problems), /hunter2/)
  }
})

test('a variable one slip away from one of ours is named with what was meant', () => {
  for (const [variable, meant] of [
    ['TUNNEL_PROFLE', 'TUNNEL_PROFILE'],
    ['TUNNEL_JWT_SECERT', 'TUNNEL_JWT_SECRET'],
    ['TUNNEL_MASTER_SECRET_FIEL', 'TUNNEL_MASTER_SECRET_FILE'],
    ['TUNNEL_TOKENFILE', 'TUNNEL_TOKEN_FILE'],
    ['TUNNEL_MAX_SOCKETS', 'TUNNEL_SERVER_MAX_SOCKETS'],
  ] as const) {
    const [problem, ...more] = problemsOf({ env: { [variable]: 'hunter2-value' } })
    assert.deepEqual(more, [])
    assert.equal(problem?.path, variable)
    assert.match(problem?.reason ?? '', new RegExp(`did you mean ${meant}\\?`))
    if (variable.includes('SEC')) assert.doesNotMatch(JSON.stringify(problem), /hunter2/)
  }
})

test('what Docker and Kubernetes set for a neighbour that is named tunnel is none of our business', () => {
  const env = {
    TUNNEL_NAME: '/app/tunnel',
    TUNNEL_PORT: 'tcp://10.0.0.1:3001',
    TUNNEL_PORT_3001_TCP_ADDR: '10.0.0.1',
    TUNNEL_SERVICE_HOST: '10.0.0.1',
    TUNNEL_SERVICE_PORT_HTTP: '3001',
    TUNNEL_ENV_NODE_VERSION: '20',
  }
  assert.doesNotThrow(() => load({ env }))
})

test('an unknown profile is refused with the names of those there are, from the flag and from TUNNEL_PROFILE', () => {
  for (const options of [
    { profile: 'prodction' },
    { env: { TUNNEL_PROFILE: '../../etc/passwd' } },
    { profile: '' },
  ]) {
    const [problem] = problemsOf(options)
    for (const name of PROFILES) assert.ok(problem?.reason.includes(name))
  }
})

test('every profile has its file, is valid and holds only what differs from the defaults', () => {
  const dir = join(import.meta.dirname, '../../config/profiles')
  assert.deepEqual(readdirSync(dir).sort(), PROFILES.map((name) => `${name}.json`).sort())
  const defaults = load().settings
  for (const profile of PROFILES) {
    const { settings, sources } = load({ profile })
    for (const [path, source] of sources) {
      if (!source.startsWith('profile')) continue
      assert.notDeepEqual(valueAt(settings, path), valueAt(defaults, path), `${profile}: ${path}`)
    }
    const leaves = JSON.stringify(JSON.parse(readFileSync(join(dir, `${profile}.json`), 'utf8'))).match(
      /":(?!\{)/g,
    )
    assert.equal(
      [...sources.values()].filter((source) => source.startsWith('profile')).length,
      leaves?.length ?? 0,
    )
  }
})

/** What each profile is for, as numbers: everything else has its default. */
const PROFILE_VALUES: Record<Profile, Record<string, unknown>> = {
  default: {},
  development: {
    'log.level': 'debug',
    'rateLimit.perIpPerMinute': 60_000,
    'rateLimit.tiers.free.perMinute': 60_000,
    'rateLimit.tiers.free.burst': 60_000,
    'rateLimit.tiers.premium.perMinute': 60_000,
    'rateLimit.tiers.premium.burst': 60_000,
    'rateLimit.tiers.enterprise.perMinute': 60_000,
    'rateLimit.tiers.enterprise.burst': 60_000,
    'breaker.openMs': 5_000,
    'shutdown.serverMs': 2_000,
  },
  production: {},
  'stable-network': {
    'heartbeat.intervalMs': 60_000,
    'heartbeat.timeoutMs': 150_000,
    'streams.windowBytes': 1_048_576,
  },
  'unstable-network': {
    'heartbeat.intervalMs': 3_000,
    'heartbeat.timeoutMs': 10_000,
    'backoff.baseMs': 500,
    'backoff.multiplier': 1.5,
    'backoff.maxMs': 15_000,
    'backoff.maxAttempts': 100,
    'streams.resumeMs': 600_000,
    'request.timeoutMs': 60_000,
  },
  'low-bandwidth': {
    'compression.enabled': true,
    'compression.thresholdBytes': 256,
    'streams.windowBytes': 65_536,
    'streams.maxWindowBytes': 1_048_576,
    'request.timeoutMs': 120_000,
    'ssh.connectTimeoutMs': 30_000,
    'ssh.compression': true,
    'pool.waitMs': 30_000,
  },
}

test('each profile has its values and no other, the same for the proxy, the agent and the client', async () => {
  for (const profile of PROFILES) {
    const expected = PROFILE_VALUES[profile]
    const server = load({ profile })
    const own = [...server.sources].filter(([, source]) => source.startsWith('profile'))
    assert.deepEqual(
      Object.fromEntries(own.map(([path]) => [path, valueAt(server.settings, path)])),
      expected,
      profile,
    )
    const agent = await loadClientSettings({ profile, env: {} })
    const client = await loadResolvedSettings(profile)
    for (const [path, value] of Object.entries(expected)) {
      if (nodeAt(CLIENT_ROOT, path.split('.')) === undefined) continue
      assert.deepEqual([valueAt(agent.settings, path), valueAt(client, path)], [value, value], path)
    }
  }
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

test('a setting by a name that was planned is refused with the one that it has', () => {
  const problems = problemsOf({ flags: ['auth.jwksUrl=https://x'] })
  assert.deepEqual(
    problems.map(({ path, reason }) => [path, reason]),
    [['auth.jwksUrl', 'there is no such setting; it is called auth.jwks.url']],
  )
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
  const warningsOf = (url: string) =>
    load({ flags: ['state.store=redis'], env: { TUNNEL_STATE_REDIS_URL: url } }).warnings
  assert.match(warningsOf('redis://user:hunter2@redis.example/0').join(), /no TLS/)
  assert.deepEqual(warningsOf('rediss://user:hunter2@redis.example:6380/3'), [])
  assert.deepEqual(warningsOf('redis://localhost'), [])
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

test('no secret is shown in a refusal, however it was mistyped', (t) => {
  const secret = 'hunter2hunter2'
  const file = jsonFile(t, {
    auth: { secret, secrt: secret },
    ssh: { masterSecert: secret, masterSecret: [secret] },
  })
  const problems = problemsOf({
    file,
    env: { TUNNEL_JWT_SECRT: secret, TUNNEL_MASTER_SECRETS: secret, TUNNEL_AUTH_TOKEN: secret },
    flags: [`metrics.tokn=${secret}`, `metrics.token=short-${secret.slice(0, 7)}`],
  })
  assert.ok(problems.length >= 8, JSON.stringify(problems))
  assert.doesNotMatch(JSON.stringify(problems), /hunter2/)
})

test('a secret is not shown where a whole section is expected, nor behind a wrong separator', (t) => {
  const secret = 'hunter2hunter2'
  const file = jsonFile(t, { auth: secret })
  const problems = [
    ...problemsOf({ env: { TUNNEL_AUTH: secret }, flags: [`auth={"secret":"${secret}"`] }),
    ...problemsOf({ flags: [`ssh.masterSecret:${secret}`] }),
    ...problemsOf({ file }),
  ]
  assert.doesNotMatch(JSON.stringify(problems), /hunter2/)
})

test('server.trustProxy takes addresses and networks, and never everybody', () => {
  const addresses = ['10.0.0.1', '192.168.0.0/16', 'fd00::/8', 'loopback']
  const named = load({ flags: [`server.trustProxy=${JSON.stringify(addresses)}`] })
  assert.deepEqual([named.settings.server.trustProxy, named.warnings], [addresses, []])
  for (const everybody of ['true', '["0.0.0.0/0"]', '["10.0.0.1","::/0"]'])
    assert.equal(problemsOf({ flags: [`server.trustProxy=${everybody}`] })[0]?.path, 'server.trustProxy')
  assert.equal(problemsOf({ flags: ['rateLimit.penalties.exempt=loopback'] })[0]?.kind, 'value')
  const [problem] = problemsOf({ flags: ['server.trustProxy=["10.0.0.1","10.0.0.0/33","nginx"]'] })
  assert.equal(problem?.path, 'server.trustProxy')
  assert.match(problem?.reason ?? '', /^"10\.0\.0\.0\/33", "nginx" is not an address/)
})

test('times longer than a day, which no timer could hold, are refused', () => {
  const paths = ['request.timeoutMs', 'pool.keepAliveMs', 'ssh.connectTimeoutMs', 'breaker.openMs']
  const problems = problemsOf({ flags: paths.map((path) => `${path}=2592000000`) })
  assert.deepEqual(problems.map(({ path }) => path).sort(), paths.toSorted())
})

test('the client has its sections of the same profile, and leaves those of the server alone', async (t) => {
  const file = jsonFile(t, {
    server: { port: 80 },
    request: { hookMs: 7, timeoutMs: 11 },
    log: { level: 'warn' },
  })
  const env = { TUNNEL_SERVER_PORT: '4000', TUNNEL_POOL_MAX_PER_USER: '2', TUNNEL_BACKOFF_BASE_MS: '900' }
  const { settings, profile, explain } = await loadClientSettings({ profile: 'low-bandwidth', file, env })
  assert.equal(profile, 'low-bandwidth')
  assert.deepEqual(Object.keys(settings).sort(), Object.keys(ClientSettings.properties).sort())
  assert.equal(settings.compression.enabled, true)
  assert.equal(settings.request.timeoutMs, 11)
  assert.equal(settings.backoff.baseMs, 900)
  assert.ok(
    explain().some(
      ({ path, source }) => path === 'backoff.baseMs' && source.includes('TUNNEL_BACKOFF_BASE_MS'),
    ),
  )
})

test("the client's mistakes are found, and what nobody has is unknown to the client as well", async (t) => {
  const file = jsonFile(t, { sever: { port: 80 }, backoff: { baseMs: 'x' }, pool: { waitMs: 'not mine' } })
  await assert.rejects(loadClientSettings({ file, env: { TUNNEL_HEARTBEAT_TIMOUT_MS: '1' } }), (error) => {
    assert.ok(error instanceof ConfigError)
    assert.deepEqual(error.problems.map(({ path }) => path).sort(), [
      'TUNNEL_HEARTBEAT_TIMOUT_MS',
      'backoff.baseMs',
      'sever',
    ])
    return true
  })
})

test('a setting that client and server share has one default', () => {
  for (const [path, node] of settingsOf(CLIENT_ROOT)) {
    assert.deepEqual(nodeAt(ROOT, path)?.default, node.default, path.join('.'))
  }
})
