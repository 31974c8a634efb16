import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import type { User } from '../../../plugins/auth/index.ts'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { FaultRelay } from '../../chaos/fault-relay.ts'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { ticketClient } from '../../support/ticket-client.ts'
import { startBehindLine } from './replicas.ts'

const skip = requireSystem('redis-server')
/** What the bucket of a user of tier `free` holds; what comes back to it takes longer than a test. */
const BURST = 30

const cleanup = new Cleanup()
/** Between the replicas and Redis. */
let line: FaultRelay
let echo: string
let replicas: [TestProxy, TestProxy, TestProxy]
before(async () => {
  if (skip !== undefined) return
  echo = await listenTcp(cleanup, (socket) => socket.pipe(socket))
  const limits = ['rateLimit.tiers.free.perMinute=1', `rateLimit.tiers.free.burst=${BURST}`]
  const started = await startBehindLine(cleanup, limits)
  line = started.line
  replicas = started.replicas
  await replicas[0].startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => replicas.every(({ app }) => app.machines.find('alice', 'home')?.online === true))
})
after(() => cleanup.close())

const isAvailable = ({ app }: TestProxy) => app.state.isAvailable !== false

/** How many of `each` streams, asked for on every replica at once, the bucket lets through at each. */
function allowed(sub: string, each: number): Promise<number[]> {
  const user: User = { sub, tier: 'free', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }
  return Promise.all(
    replicas.map(async ({ app }) => {
      const asked = Array.from({ length: each }, () => app.rateLimits.takeStream(user))
      const answers = await Promise.allSettled(asked)
      return answers.filter(({ status }) => status === 'fulfilled').length
    }),
  )
}

async function checkEcho(client: Awaited<ReturnType<TestProxy['connect']>>): Promise<void> {
  const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
  stream.write('well')
  assert.equal(String((await once(stream, 'data'))[0]), 'well')
  drop(stream)
}

test('over three replicas at once a bucket gives exactly what it holds, and without Redis each gives its share', {
  skip,
}, async () => {
  const together = await allowed('dora', 2 * BURST)
  assert.equal(
    together.reduce((sum, count) => sum + count, 0),
    BURST,
  )
  line.freeze()
  assert.deepEqual(await allowed('emil', BURST), [BURST / 3, BURST / 3, BURST / 3])
  line.thaw()
  await until(async () => (await allowed('fay', 1)) && replicas.every(isAvailable))
})

test('of a ticket that is used on two replicas at the same instant, exactly one use wins', {
  skip,
}, async () => {
  const [a, b, c] = replicas as [TestProxy, TestProxy, TestProxy]
  for (let round = 0; round < 5; round++) {
    const answer = await a.api('alice', 'auth/ticket', { method: 'POST' })
    const { ticket } = (await answer.json()) as { ticket: string }
    const statuses = await Promise.all([b, c].map((replica) => ticketClient(replica, ticket)))
    assert.deepEqual(statuses.sort(), [101, 401])
  }
})

test('a Redis that takes a second for each answer delays no stream, and is one that is away', {
  skip,
}, async () => {
  const [, b] = replicas
  const client = await b.connect('alice')
  await checkEcho(client)
  line.delay(1_000)
  await checkEcho(client)
  await until(async () => (await b.metric('tunnel_state_available')) === 0)
  line.delay(0)
  await until(async () => {
    await checkEcho(client)
    return (await b.metric('tunnel_state_available')) === 1
  })
})

test('the streams of a user who is revoked at one replica end at all, though Redis is away; those of others go on', {
  skip,
}, async (t) => {
  const [a, b, c] = replicas as [TestProxy, TestProxy, TestProxy]
  await a.startAgent('bobs', 'bob', '127.0.0.1:1', { allow: [echo] })
  await until(() => replicas.every(({ app }) => app.machines.find('bob', 'bobs')?.online === true))
  const streams = await Promise.all(
    replicas.map(async (replica) =>
      (await replica.connect('bob')).open({ machine: 'bobs', kind: 'ssh', target: echo }),
    ),
  )
  const codes = streams.map(
    (stream) => new Promise((resolve) => stream.once('error', ({ code }: TunnelError) => resolve(code))),
  )
  const others = await b.connect('alice')
  line.freeze()
  // It is known that Redis is away: whoever finds that out waits for a second.
  await allowed('gina', 1)
  const told = c.api(undefined, 'auth/revoke', {
    method: 'POST',
    token: c.tokenOf('root', { roles: ['admin'] }),
    body: { sub: 'bob' },
  })
  const revokedAtMs = performance.now()
  assert.deepEqual(await Promise.all(codes), ['TOKEN_REVOKED', 'TOKEN_REVOKED', 'TOKEN_REVOKED'])
  t.diagnostic(`${Math.round(performance.now() - revokedAtMs)} ms after the revocation`)
  // It could not be stored, and who asked for it is told so.
  assert.equal((await told).status, 503)
  await checkEcho(others)
  line.thaw()
  await until(() => replicas.every(isAvailable))
})
