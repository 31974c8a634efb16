import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadClientSettings } from '../../config/client.ts'
import { ConfigError } from '../../config/index.ts'
import { jsonFile, load, problemsOf } from './loading.ts'

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

test('a setting by a name that was planned is refused with the one that it has', () => {
  const problems = problemsOf({ flags: ['auth.jwksUrl=https://x'] })
  assert.deepEqual(
    problems.map(({ path, reason }) => [path, reason]),
    [['auth.jwksUrl', 'there is no such setting; it is called auth.jwks.url']],
  )
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
