import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { FrameType, TYPE_MASK } from '../../../protocol/codec/frames.ts'
import { drop, listenTcp, startProxy, until } from '../../support/proxy.ts'
import { RawClient } from '../links/raw-client.ts'
import { auditOf } from './recorded.ts'

interface Told {
  settings: { path: string; value: unknown; source: string; live: boolean; needsRestart: boolean }[]
}

/** A proxy and what an administrator does to its settings. */
async function start(t: TestContext) {
  const proxy = await startProxy(t, { set: ['breaker.openMs=1000'] })
  const token = proxy.tokenOf('root', { roles: ['admin'] })
  const read = async () => {
    const answer = await proxy.app.inject({ url: '/api/tunnel/config', headers: bearer(token) })
    const { settings } = answer.json<Told>()
    return {
      etag: String(answer.headers.etag),
      of: (path: string) => settings.find((each) => each.path === path),
    }
  }
  const patchText = async (payload: string, etag?: string, type = 'application/json') => {
    const answer = await proxy.app.inject({
      ...{ method: 'PATCH', url: '/api/tunnel/config', payload },
      headers: {
        ...bearer(token),
        'content-type': type,
        ...(etag !== undefined && { 'if-match': etag }),
      },
    })
    const { changed, code, detail } = answer.json<Record<string, unknown>>()
    return { status: answer.statusCode, etag: String(answer.headers.etag), changed, code, detail }
  }
  const patch = (body: unknown, etag?: string) => patchText(JSON.stringify(body), etag)
  return { proxy, read, patch, patchText }
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

test('an administrator changes settings while the proxy runs: all of a patch or nothing, recorded, and not what somebody else has changed', async (t) => {
  const { proxy, read, patch, patchText } = await start(t)
  const audit = auditOf(proxy)
  const { etag, of } = await read()
  assert.deepEqual(of('breaker.openMs'), {
    ...{ path: 'breaker.openMs', value: 1_000, source: 'default', live: true, needsRestart: false },
  })
  assert.equal(of('auth.secret')?.value, '[masked]')

  const done = await patch({ log: { level: 'debug' }, breaker: { failures: 2 } }, etag)
  assert.deepEqual([done.status, done.changed], [200, ['log.level', 'breaker.failures']])
  assert.equal(proxy.app.log.level, 'debug')
  assert.equal(proxy.settings.breaker.failures, 2)
  assert.notEqual(done.etag, etag)
  assert.deepEqual(audit.at(-1)?.details, { 'log.level': '"debug"', 'breaker.failures': '2' })

  const late = await patch({ breaker: { failures: 9 } }, etag)
  assert.deepEqual([late.status, late.code], [412, 'CONFIG_CHANGED'])
  assert.equal((await patch({ breaker: { failures: 9 } })).code, 'REQUEST_INVALID')

  for (const [body, told] of [
    [{ breaker: { failures: 3, nosuch: 1 } }, /breaker\.nosuch/],
    [{ breaker: { failures: 'many' } }, /breaker\.failures.*must be/],
    [{ breaker: { failures: 0 } }, /breaker\.failures/],
    [{ breaker: { failures: 3 }, server: { port: 1 } }, /server\.port.*needs a restart/],
    [{ auth: { secret: 'x'.repeat(40) } }, /auth\.secret.*needs a restart/],
    [{ nosuch: null }, /nosuch.*no such setting/],
    [{ log: null, breaker: null, policy: { rules: [{}] } }, /policy/],
    [
      { breaker: { failures: 3 }, policy: { rules: [{ effect: 'deny', targets: ['a/b:1'] }] } },
      /policy\.rules\[0\]\.targets\[0\]/,
    ],
  ] as const) {
    const refused = await patch(body, done.etag)
    assert.deepEqual([refused.status, refused.code], [400, 'REQUEST_INVALID'], JSON.stringify(body))
    assert.match(String(refused.detail), told)
    assert.doesNotMatch(String(refused.detail), /xxxx/)
    assert.equal(proxy.settings.breaker.failures, 2)
  }
  for (const body of [[], 'text', 7, null]) assert.equal((await patch(body, done.etag)).status, 400)
  for (const type of ['application/json', 'application/merge-patch+json']) {
    const twice = await patchText('{"log":{"level":"info","level":"trace"}}', done.etag, type)
    assert.match(String(twice.detail), /"level" twice/, type)
  }

  const back = await patch({ breaker: { failures: null } }, done.etag)
  assert.deepEqual(back.changed, ['breaker.failures'])
  assert.equal(proxy.settings.breaker.failures, 5)
})

test('of two changes of one version, sent at once, one holds', async (t) => {
  const { read, patch } = await start(t)
  const { etag } = await read()
  const both = await Promise.all([2, 3].map((failures) => patch({ breaker: { failures } }, etag)))
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 412])
})

test('limits that an administrator changes hold for the next stream, and no stream that is open ends', async (t) => {
  const { proxy, read, patch } = await start(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await proxy.startAgent('home', 'alice', echo)
  const alice = await proxy.connect('alice')
  const live = await alice.open({ machine: 'home', kind: 'ssh' })
  const { etag } = await read()
  const deny = { effect: 'deny', modes: ['sealed'] }
  const denied = await patch({ policy: { rules: [deny] } }, etag)
  assert.equal(denied.status, 200, JSON.stringify(denied))
  await assert.rejects(alice.open({ machine: 'home', kind: 'ssh' }), { code: 'POLICY_DENIED' })
  live.write('still')
  assert.equal(String((await once(live, 'data'))[0]), 'still')
  assert.equal((await patch({ policy: null }, denied.etag)).status, 200)
  ;(await alice.open({ machine: 'home', kind: 'ssh' })).destroy()
})

test('each sees their own streams and links, an administrator all, and whoever may see a stream may end it', async (t) => {
  const { proxy } = await start(t)
  const audit = auditOf(proxy)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  for (const user of ['alice', 'bob']) await proxy.startAgent('home', user, echo)
  const open = async (user: string) => (await proxy.connect(user)).open({ machine: 'home', kind: 'ssh' })
  const [alices, bobs] = await Promise.all([open('alice'), open('bob')])
  alices.write('hello')
  await once(alices, 'data')
  const root = proxy.tokenOf('root', { roles: ['admin'] })
  const get = async <T>(route: string, token: string) =>
    (await (await proxy.api(undefined, route, { token })).json()) as T
  type Sessions = { id: string; user: string; bytesIn: number; state: string }[]
  const mine = await get<Sessions>('sessions', proxy.tokenOf('alice'))
  assert.deepEqual(
    mine.map(({ id, user, bytesIn, state }) => [id, user, bytesIn, state]),
    [[alices.stream.id, 'alice', 5, 'open']],
  )
  assert.equal((await get<Sessions>('sessions', root)).length, 2)
  interface Diagnostics {
    links: { user: string; role: string; machine?: string }[]
    users: { user: string; links: number; streams: number }[]
    errors: { code: string }[]
  }
  const seen = await get<Diagnostics>('diagnostics', proxy.tokenOf('alice'))
  assert.deepEqual(seen.links.map(({ role }) => role).sort(), ['agent', 'client'])
  assert.ok(!JSON.stringify(seen).includes('bob'))
  assert.equal((await get<Diagnostics>('diagnostics', root)).links.length, 4)

  const end = async (id: string, token: string) =>
    (await proxy.api(undefined, `sessions/${id}`, { method: 'DELETE', token })).status
  for (const id of [bobs.stream.id, '0'.repeat(32), 'no-id'])
    assert.equal(await end(id, proxy.tokenOf('alice')), 404)
  assert.equal(
    await end(alices.stream.id, proxy.tokenOf('alice', { roles: ['agent'], machine: 'home' })),
    403,
  )
  for (const [stream, token] of [
    [alices, proxy.tokenOf('alice')],
    [bobs, root],
  ] as const) {
    const ended = once(stream, 'error')
    assert.equal(await end(stream.stream.id, token), 204)
    assert.equal(((await ended)[0] as { code: string }).code, 'ABORTED')
  }
  assert.deepEqual(
    audit.filter(({ event }) => event === 'stream.ended').map(({ userId, details }) => [userId, details]),
    [
      ['alice', { streamId: alices.stream.id, kind: 'ssh', by: 'alice' }],
      ['bob', { streamId: bobs.stream.id, kind: 'ssh', by: 'root' }],
    ],
  )
  await until(async () => (await get<Sessions>('sessions', root)).length === 0)
})

test('whoever gives a stream the id of another user ends their own with it, and not that one', async (t) => {
  const { proxy } = await start(t)
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  for (const user of ['alice', 'mallory']) await proxy.startAgent('home', user, echo)
  const alices = await (await proxy.connect('alice')).open({ machine: 'home', kind: 'ssh' })
  const mallory = new RawClient(t, { url: proxy.url, token: proxy.tokenOf('mallory') })
  await mallory.hello()
  const { id } = alices.stream
  mallory.open(1, { id, machine: 'home', kind: 'ssh' })
  await mallory.frame((frame) => (frame[0]! & TYPE_MASK) === FrameType.ACCEPT)
  const ended = await proxy.api('mallory', `sessions/${id}`, { method: 'DELETE' })
  assert.equal(ended.status, 204)
  assert.equal((await mallory.resetOf(1)).code, 'ABORTED')
  alices.write('mine')
  assert.equal(String((await once(alices, 'data'))[0]), 'mine')
  drop(alices)
})
