import assert from 'node:assert/strict'
import { test } from 'node:test'
import fp from 'fastify-plugin'
import { answerInTime } from '../../../plugins/policy/in-time.ts'
import type { Policy, PolicyRequest } from '../../../plugins/policy/index.ts'
import { inTime } from '../../../protocol/in-time.ts'
import { startProxy } from '../../support/proxy.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const NEVER = new Promise<never>(() => {})
const REQUEST: PolicyRequest = {
  ...{ user: { sub: 'bob', tier: 'free', roles: [], expiresAtMs: Number.POSITIVE_INFINITY } },
  ...{ machine: 'home', owner: 'bob', mode: 'sealed', kind: 'ssh' },
}

test('a policy of a plugin that never answers refuses its stream in time, and holds up nobody else', async (t) => {
  const silent = fp(
    async (app) => {
      app.decorate('policy', {
        check({ kind, target }: PolicyRequest): Promise<void> {
          if (kind === 'agent') return Promise.resolve()
          return target === '127.0.0.1:9' ? NEVER : Promise.resolve()
        },
        explain: () => NEVER,
      })
    },
    { name: 'tunnel-policy' },
  )
  const proxy = await startProxy(t, { plugins: [silent], set: ['request.hookMs=300'] })
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const alice = await proxy.connect('alice')
  const opening = { machine: 'home', kind: 'tcp', target: '127.0.0.1:9' } as const
  await assert.rejects(alice.open(opening), {
    code: 'TIMEOUT',
    message: /policy .* did not decide within 300 ms/,
  })
  const byGateway = await proxy.api('alice', 'machines/home/http/9/')
  assert.equal(byGateway.headers.get('x-tunnel-error'), 'TIMEOUT')
  // The way there is refused by nobody: what fails is sshd, which is not there.
  await assert.rejects(alice.open({ ...opening, target: '127.0.0.1:10' }), { code: /^(?!TIMEOUT)/ })
  const body = { sub: 'alice', machine: 'home', kind: 'tcp', target: '127.0.0.1:9' }
  const admin = proxy.tokenOf('root', { roles: ['admin'] })
  const explained = await proxy.api('alice', 'policy/check', { method: 'POST', body, token: admin })
  assert.equal(((await explained.json()) as { code: string }).code, 'TIMEOUT')
  const told = proxy.log.filter(({ message }) => message === "a plugin's policy failed")
  assert.ok(told.length >= 3, String(told.length))
})

test('a policy keeps its own fields, its answers and its refusals; one that answers in time is not told of', async () => {
  class Own implements Policy {
    readonly #allowed = 'bob'
    readonly extra = () => this.#allowed
    async check({ user }: PolicyRequest): Promise<void> {
      if (user.sub !== this.#allowed) throw new RangeError('not yours')
    }
  }
  const policy = new Own()
  const late: Error[] = []
  answerInTime(policy, 60_000, (error) => late.push(error))
  await policy.check(REQUEST)
  await assert.rejects(policy.check({ ...REQUEST, user: { ...REQUEST.user, sub: 'eve' } }), RangeError)
  assert.equal(policy.extra(), 'bob')
  assert.equal((policy as Policy).explain, undefined)
  assert.deepEqual(late, [])
})

test('what only has a `then` has a deadline as a promise has', async () => {
  const thenable = <T>(then: (resolve: (value: T) => void) => void): PromiseLike<T> =>
    ({ then }) as PromiseLike<T>
  const clock = new VirtualClock()
  const late = () => new RangeError('late')
  const silent = inTime(() => thenable(() => {}), 1_000, late, clock)
  await Promise.all([assert.rejects(silent, RangeError), clock.run(1_000)])
  const quick = thenable<number>((resolve) => resolve(7))
  assert.equal(await inTime(() => quick, 1_000, late, clock), 7)
})
