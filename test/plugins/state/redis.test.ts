import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { Value } from 'typebox/value'
import { loadSettings } from '../../../config/index.ts'
import type { Machine } from '../../../dial/machine.ts'
import { Revocations } from '../../../plugins/auth/revocations.ts'
import { MachineDirectory } from '../../../plugins/machines/directory.ts'
import { describe } from '../../../plugins/machines/host-keys.ts'
import { RedisState } from '../../../plugins/state/redis.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Link } from '../../../protocol/index.ts'
import { StreamsOptions } from '../../../protocol/options.ts'
import { buildServer } from '../../../server.ts'
import { until } from '../../support/proxy.ts'
import { newPublicKey } from '../../support/public-key.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { tempFolder } from '../../support/tree.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { stateSuite } from './suite.ts'

const skip = requireSystem('redis-server')
const AWAY = { code: 'STATE_UNAVAILABLE' }
const BOB = { sub: 'bob', credential: { id: 'token-2', issuedAtMs: 5 } }
const ALICE = { sub: 'alice', credential: { id: 'token-1', issuedAtMs: 1 } }

const cleanup = new Cleanup()
let redis: RedisServer
before(async () => {
  if (skip === undefined) redis = await startRedis(cleanup)
})
after(() => cleanup.close())

/** A replica's state, on a Redis that is as it was left. */
async function open(t: TestContext, nowUs?: () => number): Promise<RedisState> {
  const options = { url: redis.url, staleMs: 300_000, failed() {}, ...(nowUs && { nowUs }) }
  const state = await RedisState.open(options)
  t.after(() => state.close())
  return state
}

async function openTwo(t: TestContext): Promise<[RedisState, RedisState]> {
  await redis.admin.flushall()
  return [await open(t), await open(t)]
}

/** Settles when `state` has been told that it is back, or that it may have missed something. */
function missed(state: RedisState, namespace = 'revoked'): Promise<void> {
  return new Promise((resolve) => {
    const stop = state.watch(namespace, {
      written() {},
      missed() {
        stop()
        resolve()
      },
    })
  })
}

/** Settles when calls succeed again, after it was told. */
async function back(state: RedisState): Promise<void> {
  for (;;) {
    const told = missed(state)
    try {
      await state.get('pin', 'home')
      return
    } catch {
      await told
    }
  }
}

if (skip === undefined) {
  stateSuite('redis', async (t) => {
    await redis.admin.flushall()
    let nowUs = 1e15
    const state = await open(t, () => nowUs)
    const advance = (ms: number): void => {
      nowUs += ms * 1_000
    }
    return { state, advance }
  })
}

test('what another application keeps on the same Redis is left alone', { skip }, async (t) => {
  const [state] = await openTwo(t)
  await redis.admin.set('theirs', 'kept')
  await state.put('pin', 'home', 1)
  await state.volatile.put('ticket', 'a', 1, { ttlMs: 60_000 })
  await state.takeToken('theirs', { perMinute: 60, burst: 3 })
  const names = (await redis.admin.keys('*')).filter((name) => name !== 'theirs')
  assert.equal(names.length, 6)
  for (const name of names) assert.match(name, /^ssh-websocket-tunnel:/)
  assert.equal(await redis.admin.get('theirs'), 'kept')
})

test('what has ended leaves Redis, with the writes that follow or by itself', { skip }, async (t) => {
  await redis.admin.flushall()
  let nowUs = 1e15
  const state = await open(t, () => nowUs)
  for (let at = 0; at < 20; at++) await state.put('revoked', `r${at}`, at, { ttlMs: 1_000 })
  nowUs += 1_000_000
  for (let at = 0; at < 6; at++) await state.put('revoked', 'one', at)
  for (const part of ['names', 'values', 'ends']) {
    const name = `ssh-websocket-tunnel:kept!revoked!${part}`
    const size = part === 'values' ? await redis.admin.hlen(name) : await redis.admin.zcard(name)
    assert.equal(size, part === 'ends' ? 0 : 1, part)
  }
  await state.takeToken('u', { perMinute: 60, burst: 10 }, 10)
  const leftMs = await redis.admin.pttl('ssh-websocket-tunnel:bucket!u')
  assert.ok(leftMs > 0 && leftMs <= 10_000, `${leftMs}`)
})

test('of 300 requests at once over two replicas exactly those pass that the bucket holds', {
  skip,
}, async (t) => {
  const states = await openTwo(t)
  const limit = { perMinute: 1, burst: 100 }
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, at) => states[at % 2]!.takeToken('u', limit)),
  )
  assert.equal(answers.filter(({ allowed }) => allowed).length, 100)
  const waits = answers.filter(({ allowed }) => !allowed).map(({ retryAfterMs }) => retryAfterMs)
  assert.ok(waits.every((ms) => ms > 0 && ms <= 60_000))
})

test('of takers, creators and replacers on two replicas exactly one wins', { skip }, async (t) => {
  const states = await openTwo(t)
  const [one] = states
  const race = async (attempt: (state: RedisState) => Promise<unknown>) => {
    const outcomes = await Promise.all(Array.from({ length: 40 }, (_, at) => attempt(states[at % 2]!)))
    return outcomes.filter((outcome) => outcome !== undefined && outcome !== false).length
  }
  await one.volatile.put('ticket', 'a', { sub: 'alice' }, { ttlMs: 60_000 })
  assert.equal(await race((state) => state.volatile.take('ticket', 'a')), 1)
  assert.equal(await race((state) => state.create('pin', 'home', 1)), 1)
  await one.put('session', 's', { b: 1, a: [1] })
  // Equal values in another order of their members are the same.
  assert.equal(await race((state) => state.replace('session', 's', { a: [1], b: 1 }, 2)), 1)
})

test('a revocation reaches another replica at once, and one that was published to nobody is found', {
  skip,
}, async (t) => {
  const [one, other] = await openTwo(t)
  const follow = async (state: RedisState): Promise<Revocations> => {
    const revocations = new Revocations(state)
    t.after(await revocations.follow((error) => assert.ok(AWAY.code === (error as TunnelError).code)))
    return revocations
  }
  const [mine, theirs] = [await follow(one), await follow(other)]
  const heard = () => new Promise<void>((resolve) => theirs.onRevoked(() => resolve()))
  const first = heard()
  await mine.revokeToken(ALICE.credential.id, Date.now() + 60_000)
  await first
  assert.equal(theirs.isRevoked(ALICE), true)
  // Nobody listens while it is written: the subscribers are cut off in the same step as the write.
  const second = heard()
  const bob = { kind: 'user', id: 'bob', issuedUntilMs: 10 }
  const start = 'ssh-websocket-tunnel:kept!revoked!'
  await redis.admin
    .multi()
    .call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    .hset(`${start}values`, 'user:bob', JSON.stringify(bob))
    .zadd(`${start}names`, 0, 'user:bob')
    .exec()
  await second
  assert.equal(theirs.isRevoked(BOB), true)
})

test('while Redis does not answer, records are refused, buckets are our own, and all is well after', {
  skip,
}, async (t) => {
  const [state] = await openTwo(t)
  await state.put('pin', 'home', 'kept')
  const pid = redis.program.pid
  process.kill(pid, 'SIGSTOP')
  t.after(() => redis.program.kill('SIGCONT'))
  const outcomes = await Promise.allSettled(
    Array.from({ length: 200 }, (_, at) => state.put('pin', `p${at}`, at)),
  )
  for (const outcome of outcomes) {
    assert.ok(outcome.status === 'rejected' && outcome.reason instanceof TunnelError)
    assert.equal(outcome.reason.code, AWAY.code)
    assert.ok((outcome.reason.retryAfterMs ?? 0) > 0)
  }
  await assert.rejects(state.volatile.take('ticket', 'a'), AWAY)
  const limit = { perMinute: 1, burst: 3 }
  const taken = await Promise.all([1, 2, 3, 4].map(() => state.takeToken('u', limit)))
  assert.deepEqual(
    taken.map(({ allowed }) => allowed),
    [true, true, true, false],
  )
  await assert.rejects(state.takeToken('u', limit, 4), RangeError)
  redis.program.kill('SIGCONT')
  await back(state)
  assert.equal(await state.get('pin', 'home'), 'kept')
  assert.equal((await state.takeToken('u', limit)).remaining, 2)
})

test('a Redis that is full refuses records, is told of once, and leaves buckets to the replica', {
  skip,
}, async (t) => {
  const told: string[] = []
  const failed = ({ message }: Error): void => void told.push(message)
  const state = await RedisState.open({ url: redis.url, staleMs: 300_000, failed })
  t.after(() => state.close())
  t.after(() => redis.admin.config('SET', 'maxmemory', '0'))
  await redis.admin.config('SET', 'maxmemory', '1')
  await assert.rejects(state.put('pin', 'home', 'key'), AWAY)
  await assert.rejects(state.put('pin', 'work', 'key'), AWAY)
  const limit = { perMinute: 60, burst: 1 }
  assert.deepEqual([(await state.takeToken('full', limit)).allowed], [true])
  assert.equal((await state.takeToken('full', limit)).allowed, false)
  assert.equal(told.length, 1)
  assert.match(told[0]!, /^OOM /)
})

test('after Redis was killed and started empty, replicas go on, and forget no revocation', {
  skip,
}, async (t) => {
  const [one, other] = await openTwo(t)
  const revocations = new Revocations(other)
  t.after(await revocations.follow(() => {}))
  const heard = new Promise<void>((resolve) => revocations.onRevoked(() => resolve()))
  await one.put('revoked', 'user:alice', { kind: 'user', id: 'alice', issuedUntilMs: 10 })
  await heard
  await redis.restart()
  await Promise.all([back(one), back(other)])
  assert.equal(await one.get('revoked', 'user:alice'), undefined)
  assert.equal(revocations.isRevoked(ALICE), true)
  const heardAgain = new Promise<void>((resolve) => revocations.onRevoked(() => resolve()))
  await one.put('revoked', 'user:bob', { kind: 'user', id: 'bob', issuedUntilMs: 10 })
  await heardAgain
  assert.equal(revocations.isRevoked(BOB), true)
})

test('revocations that cannot be read anew are gone by for staleMs, then no token is taken', {
  skip,
}, async (t) => {
  const [state] = await openTwo(t)
  const clock = new VirtualClock()
  const revocations = new Revocations(state, Date.now, clock)
  t.after(await revocations.follow(() => {}))
  process.kill(redis.program.pid, 'SIGSTOP')
  t.after(() => redis.program.kill('SIGCONT'))
  await assert.rejects(state.get('pin', 'home'), AWAY)
  await clock.run(state.staleMs)
  revocations.check(ALICE)
  await clock.run(state.staleMs + 1)
  assert.throws(() => revocations.check(ALICE), AWAY)
  redis.program.kill('SIGCONT')
  const isUnknown = (): boolean => {
    try {
      revocations.check(ALICE)
      return false
    } catch {
      return true
    }
  }
  // They are read anew without being asked; each round is one trip to Redis.
  while (isUnknown()) await back(state)
})

test('a machine that one replica has pinned is no new one to another, and what its owner trusts or forgets holds there', {
  skip,
}, async (t) => {
  const [one, other] = await openTwo(t)
  const streams = Value.Create(StreamsOptions)
  const open = async (state: RedisState): Promise<MachineDirectory> => {
    const directory = new MachineDirectory({}, streams, state)
    t.after(await directory.follow((error) => assert.ok(AWAY.code === (error as TunnelError).code)))
    t.after(() => directory.close())
    return directory
  }
  const [mine, theirs] = [await open(one), await open(other)]
  const [pinned, shown] = [newPublicKey(), newPublicKey()]
  const agent = () => ({ link: { closed: true } as Link, limits: { machines: 10 }, isFresh: () => true })
  const enrol = (directory: MachineDirectory, key: string, name = 'home') =>
    directory.enrol('alice', name, { hostKeys: [key], sshUser: 'me' }, agent() as never)
  /** A Redis that gets no time beside other tests is away for the moment: agents come again. */
  const enrolPatiently = async (directory: MachineDirectory, key: string): Promise<void> => {
    const isAway = ({ code }: TunnelError) => code === AWAY.code
    while (
      !(await enrol(directory, key).then(
        () => true,
        (error) => assert.ok(isAway(error), error),
      ))
    ) {}
  }
  const homeOf = (directory: MachineDirectory) => directory.find('alice', 'home') as Machine
  const prints = (keys: readonly { fingerprint: string }[] = []) => keys.map(({ fingerprint }) => fingerprint)
  // Before any message can have come: it is asked for.
  await enrolPatiently(mine, pinned)
  await enrolPatiently(theirs, shown)
  assert.equal(homeOf(theirs).hostKeyChanged, true)
  await until(() => homeOf(mine).hostKeyChanged)
  assert.deepEqual(prints(homeOf(mine).hostKeys), prints(homeOf(theirs).hostKeys))
  await mine.trust('alice', 'home')
  await until(() => !homeOf(theirs).hostKeyChanged)
  // Of two that meet a new machine at once one pins it; the other is refused, or finds what is pinned and another key.
  await Promise.allSettled([enrol(mine, pinned, 'new'), enrol(theirs, shown, 'new')])
  const newOf = (directory: MachineDirectory) => prints(directory.find('alice', 'new')?.hostKeys)
  await until(() => newOf(mine).length === 1 && newOf(theirs).length === 1)
  assert.deepEqual(newOf(mine), newOf(theirs))
  const forgotten = new Promise<string>((resolve) => theirs.onForgotten((_owner, name) => resolve(name)))
  await mine.forget('alice', 'home')
  // No message says so: it is found when all are read anew, as after the connection was lost.
  await redis.admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  assert.equal(await forgotten, 'home')
  const isMine = newOf(mine)[0] === describe(pinned).fingerprint
  const comeBack = () => enrol(isMine ? mine : theirs, isMine ? pinned : shown, 'new')
  // The key that the other showed is forgotten, which Redis has to be told.
  await comeBack()
  // With Redis away a machine that is known comes back, and an unknown one does not.
  process.kill(redis.program.pid, 'SIGSTOP')
  t.after(() => redis.program.kill('SIGCONT'))
  await comeBack()
  await assert.rejects(enrol(mine, pinned, 'other'), AWAY)
  redis.program.kill('SIGCONT')
  await Promise.all([back(one), back(other)])
})

test('two proxies on one Redis: a token that one revokes the other refuses; with Redis away both stay ready', {
  skip,
}, async (t) => {
  await redis.admin.flushall()
  const lines: string[] = []
  const start = async () => {
    const dir = await tempFolder(t, 'replica')
    const { settings } = loadSettings({
      stateDir: dir,
      env: {
        TUNNEL_JWT_SECRET: 'j'.repeat(40),
        TUNNEL_MASTER_SECRET: 'm'.repeat(40),
        TUNNEL_STATE_STORE: 'redis',
        TUNNEL_STATE_REDIS_URL: redis.url,
        // So few come back that none does while the test runs.
        TUNNEL_RATE_LIMIT_TIERS_FREE_PER_MINUTE: '1',
      },
    })
    const app = await buildServer({ settings, logStream: { write: (line) => void lines.push(line) } })
    t.after(() => app.close())
    return app
  }
  const [one, other] = [await start(), await start()]
  const token = one.auth.sign({ sub: 'alice', ttlSeconds: 60 })
  // What is asked again and again uses up the bucket of whoever asks: each time it is somebody else.
  let users = 0
  const somebodys = () => one.auth.sign({ sub: `user-${users++}`, ttlSeconds: 60 })
  const headersOf = (bearer: string) => ({ authorization: `Bearer ${bearer}` })
  const me = (app: typeof one, bearer: string) =>
    app.inject({ url: '/api/tunnel/machines', headers: headersOf(bearer) })
  const carols = one.auth.sign({ sub: 'carol', ttlSeconds: 60 })
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, at) => me(at % 2 === 0 ? one : other, carols)),
  )
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 100)
  assert.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 200)
  // A penalty of both together: the other proxy's part of it comes from Redis, for which no answer waits.
  const guess = (app: typeof one, bearer: string) =>
    app.inject({
      url: '/api/tunnel/machines',
      remoteAddress: '192.0.2.1',
      headers: headersOf(bearer),
    })
  for (const app of [one, other, one, other]) assert.equal((await guess(app, 'a.b.c')).statusCode, 401)
  await until(async () => (await guess(other, somebodys())).statusCode === 429)
  const makeTicket = () =>
    other.inject({ method: 'POST', url: '/api/tunnel/auth/ticket', headers: headersOf(somebodys()) })
  assert.equal((await me(other, token)).statusCode, 200)
  const ended = new Promise<void>((resolve) => other.auth.onRevoked(() => resolve()))
  const revoke = { method: 'POST', url: '/api/tunnel/auth/revoke', headers: headersOf(token) } as const
  assert.ok((await one.inject({ ...revoke, payload: { token } })).statusCode < 300)
  await ended
  assert.equal((await me(other, token)).json().code, 'TOKEN_REVOKED')
  // A call that Redis has no time for within a second is refused, on a busy computer too.
  await until(async () => (await makeTicket()).statusCode < 300)
  process.kill(redis.program.pid, 'SIGSTOP')
  t.after(() => redis.program.kill('SIGCONT'))
  const refused = await makeTicket()
  assert.equal(refused.statusCode, 503)
  assert.equal(refused.json().code, AWAY.code)
  assert.ok(Number(refused.headers['retry-after']) > 0)
  assert.equal((await me(other, token)).json().code, 'TOKEN_REVOKED')
  assert.equal((await me(other, somebodys())).statusCode, 200)
  assert.equal((await other.inject('/api/tunnel/health/ready')).statusCode, 200)
  redis.program.kill('SIGCONT')
  await back(other.state as RedisState)
  await until(async () => (await makeTicket()).statusCode < 300)
  const said = lines.join('')
  assert.match(said, /Redis is away/)
  assert.ok(!said.includes(redis.password))
})
