import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ClientSettings } from '../../client/options.ts'
import { loadSettings as loadResolvedSettings } from '../../client/profiles.ts'
import { loadClientSettings } from '../../config/client.ts'
import { PROFILES, type Profile } from '../../config/index.ts'
import { nodeAt } from '../../config/nodes.ts'
import { CLIENT_ROOT, jsonFile, load, problemsOf, valueAt } from './loading.ts'

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
