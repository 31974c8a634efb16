import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { drop, listenTcp, type TestProxy, until } from '../../support/proxy.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { auditOf } from '../admin/recorded.ts'
import { startReplicas } from './replicas.ts'

const skip = requireSystem('redis-server')

const cleanup = new Cleanup()
let redis: RedisServer
before(async () => {
  if (skip === undefined) redis = await startRedis(cleanup)
})
after(() => cleanup.close())

interface Session {
  id: string
  user: string
  replica: string
  via?: string
}

interface Link {
  connectionId: string
  user: string
  role: string
  replica: string
}

/** Two replicas; home's agent at the first, alice's client at the second. */
async function scene(t: Parameters<typeof startReplicas>[0]) {
  const [a, b] = (await startReplicas(t, redis, ['a', 'b'])) as [TestProxy, TestProxy]
  const echo = await listenTcp(t, (socket) => socket.pipe(socket))
  await a.startAgent('home', 'alice', '127.0.0.1:1', { allow: [echo] })
  await until(() => b.app.machines.find('alice', 'home')?.online === true)
  const client = await b.connect('alice')
  const stream = await client.open({ machine: 'home', kind: 'ssh', target: echo })
  t.after(() => drop(stream))
  const root = a.tokenOf('root', { roles: ['admin'] })
  const get = async <T>(at: TestProxy, route: string, token: string): Promise<T> =>
    (await (await at.api(undefined, route, { token })).json()) as T
  const end = async (at: TestProxy, route: string, token: string): Promise<string> => {
    const answer = await at.api(undefined, route, { method: 'DELETE', token })
    return answer.status === 204 ? 'ended' : ((await answer.json()) as { code: string }).code
  }
  return { a, b, client, stream, root, get, end }
}

test('every replica lists the streams and links of all, each once and with its replica; a user sees their own', {
  skip,
}, async (t) => {
  const { a, b, stream, root, get } = await scene(t)
  await b.connect('bob')
  for (const at of [a, b]) {
    const sessions = await get<Session[]>(at, 'sessions', root)
    assert.deepEqual(
      sessions.map(({ id, user, replica, via }) => ({ id, user, replica, via })),
      [{ id: stream.stream.id, user: 'alice', replica: 'b', via: undefined }],
    )
    const links = await get<Link[]>(at, 'links', root)
    assert.deepEqual(links.map(({ user, role, replica }) => `${user} ${role} ${replica}`).sort(), [
      'alice agent a',
      'alice client b',
      'bob client b',
    ])
    for (const route of ['links', 'sessions']) {
      const own = await get<Link[]>(at, route, at.tokenOf('bob'))
      assert.deepEqual(
        own.map(({ user }) => user),
        route === 'links' ? ['bob'] : [],
      )
    }
    const told = await get<{ users: { user: string; replica: string }[]; links: Link[]; missing: string[] }>(
      at,
      'diagnostics',
      root,
    )
    assert.deepEqual([told.links.length, told.missing], [3, []])
    // A stream that is handed over is its user's at both.
    assert.deepEqual(told.users.map(({ user, replica }) => `${user} ${replica}`).sort(), [
      'alice a',
      'alice b',
      'bob b',
    ])
    const watched = await at.api(undefined, `sessions/${stream.stream.id}/watch`, { token: root })
    assert.equal(((await watched.json()) as { code: string }).code, 'REQUEST_INVALID')
  }
})

test('a stream and a link are ended by whoever may, at whichever replica that is asked; it is recorded where it was asked', {
  skip,
}, async (t) => {
  const { a, b, client, stream, root, get, end } = await scene(t)
  const { id } = stream.stream
  const links = await get<Link[]>(a, 'links', root)
  const link = links.find(({ role }) => role === 'client')?.connectionId ?? ''
  for (const route of [`sessions/${id}`, `links/${link}`])
    assert.equal(await end(a, route, a.tokenOf('bob')), 'UNKNOWN_STREAM')

  const recorded = auditOf(a)
  const recordedAtB = auditOf(b)
  const first = client.link
  const lost = new Promise<{ code: string; message: string }>((resolve) => client.on('link-lost', resolve))
  assert.equal(await end(a, `links/${link}`, root), 'ended')
  const { code, message } = await lost
  assert.equal(code, 'LINK_LOST')
  assert.match(message, /an administrator of the proxy ended the link/)
  await until(() => client.link !== undefined && client.link !== first)
  // Its stream goes on.
  stream.write('on')
  assert.equal(String((await once(stream, 'data'))[0]), 'on')
  assert.equal(await end(a, `links/${link}`, root), 'UNKNOWN_STREAM')

  const failed = once(stream, 'error')
  assert.equal(await end(a, `sessions/${id}`, a.tokenOf('alice')), 'ended')
  assert.match(((await failed) as [Error])[0].message, /as its user asked/)

  const ends = [...recorded, ...recordedAtB].filter(({ event }) =>
    /^(link|stream)\.ended$/.test(String(event)),
  )
  assert.deepEqual(
    ends.map(({ event, userId, details }) => {
      const { by, replica } = details as { by: string; replica: string }
      return [event, userId, by, replica]
    }),
    [
      ['link.ended', 'alice', 'root', 'b'],
      ['stream.ended', 'alice', 'alice', 'b'],
    ],
  )
})

test('a replica that does not answer is named, and what the others have is shown', { skip }, async (t) => {
  const { a, b, root } = await scene(t)
  // As one of a version that does not know the question.
  t.mock.method(b.app.links, 'list', () => {
    throw new Error('broken')
  })
  const asked = await a.api(undefined, 'links', { token: root })
  assert.equal(asked.headers.get('tunnel-replicas-missing'), 'b')
  assert.equal(asked.headers.get('tunnel-replicas'), '2')
  assert.deepEqual(
    ((await asked.json()) as Link[]).map(({ replica }) => replica),
    ['a'],
  )
  assert.equal(a.app.cluster?.size, 2)
})

test('the answer names a replica that has more than it could tell', { skip }, async (t) => {
  const { a, root } = await scene(t)
  assert.ok(a.app.cluster)
  t.mock.method(a.app.cluster, 'ask', async () => ({ items: [], missing: [], cut: ['b'], replicas: 2 }))
  const ask = (route: string) => a.api(undefined, route, { token: root })
  for (const route of ['links', 'sessions', 'diagnostics'])
    assert.equal((await ask(route)).headers.get('tunnel-replicas-cut'), 'b')
  assert.deepEqual(((await (await ask('diagnostics')).json()) as { cut: string[] }).cut, ['b'])
})
