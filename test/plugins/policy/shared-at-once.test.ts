import assert from 'node:assert/strict'
import { test } from 'node:test'
import fp from 'fastify-plugin'
import type { User } from '../../../plugins/auth/index.ts'
import type { Shared } from '../../../plugins/policy/index.ts'
import { WarmUp } from '../../../plugins/pool/warm.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { startProxy, until } from '../../support/proxy.ts'

const shareAll: Shared = { owners: ['alice'], includes: () => true }
const rejected = () => Promise.reject(new RangeError('too late')) as never

/** What the plugin does for each user. */
const ANSWERS: Readonly<Record<string, () => Shared | undefined>> = {
  bob: () => shareAll,
  carol: () => undefined,
  promised: () => Promise.resolve(shareAll) as never,
  rejected,
  thrown: () => {
    throw new RangeError('nobody home')
  },
  odd: () => ({ owners: 'alice', includes: () => true }) as never,
  'includes-promised': () => ({ ...shareAll, includes: () => Promise.resolve(true) as never }),
  'includes-rejected': () => ({ ...shareAll, includes: rejected }),
  busy: () => {
    throw new TunnelError('STATE_UNAVAILABLE', 'ask again', { hop: 'proxy' })
  },
}

test("what a plugin's policy shares is said at once: a promise or a throw refuses that request, is logged, and ends nothing", async (t) => {
  const plugin = fp(
    async (app) => {
      app.decorate('policy', {
        async check() {},
        sharedWith: ({ sub }: User) => ANSWERS[sub]?.(),
      })
    },
    { name: 'tunnel-policy' },
  )
  const proxy = await startProxy(t, { plugins: [plugin] })
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const said = async (user: string) => {
    const answers = [await proxy.api(user, 'machines'), await proxy.api(user, 'machines/home')]
    return Promise.all(
      answers.map(async (answer) => (answer.ok ? 'ok' : ((await answer.json()) as { code: string }).code)),
    )
  }
  const INTERNAL = ['INTERNAL', 'INTERNAL']
  assert.deepEqual(await said('bob'), ['ok', 'ok'])
  assert.deepEqual(await said('carol'), ['ok', 'MACHINE_UNKNOWN'])
  assert.deepEqual(await said('busy'), ['STATE_UNAVAILABLE', 'STATE_UNAVAILABLE'])
  const faults = ['promised', 'rejected', 'thrown', 'odd', 'includes-promised', 'includes-rejected']
  for (const user of faults) assert.deepEqual(await said(user), INTERNAL, user)
  const told = () => proxy.log.filter(({ message }) => message === "a plugin's policy failed")
  await until(() => told().length >= 2 * faults.length)
  assert.equal(told().length, 2 * faults.length)
  const text = JSON.stringify(told())
  for (const why of ['sharedWith of', 'includes of', 'answered with a promise', 'nobody home'])
    assert.ok(text.includes(why), why)
  assert.deepEqual(await said('bob'), ['ok', 'ok'])
})

test('a warm-up whose machines cannot be listed is told of, and rejects nothing', async () => {
  const fault = new RangeError('nobody home')
  const services = {
    pool: { connections: () => [], warm: async () => {} },
    machines: {
      list() {
        throw fault
      },
      resolve: async () => assert.fail('it was asked for'),
    },
    policy: { check: async () => {} },
  }
  const user: User = { sub: 'bob', tier: 'free', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
  const failures: unknown[] = []
  await new WarmUp({ warm: 1, maxPerUser: 1 }, services).run(user, (_, error) => failures.push(error))
  assert.deepEqual(failures, [fault])
})
