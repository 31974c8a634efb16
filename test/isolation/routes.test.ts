import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { firstRefreshToken } from '../../plugins/auth/refresh-tokens.ts'
import { FrameType } from '../../protocol/codec/frames.ts'
import { API } from '../support/watch-routes.ts'
import { agentOf, assertNoneIsPrinted, codeOf, rightToken, startScene } from './scene.ts'
import { FRAMES, OK, ROUTES } from './table.ts'

const entries = Object.entries(ROUTES).map(([name, entry]) => ({
  name,
  method: name.split(' ')[0]?.replace('ALL', 'GET') ?? '',
  ...entry,
}))
const ofUsers = entries.filter(({ asks }) => asks === 'user')

/** A route with a `*` for each part of its path that is a parameter: `:machine`, or as a document fills it in, `MACHINE`. */
function withoutNames(route: string): string {
  const [method, path = ''] = route.split(' ')
  const parts = path.split('?', 1)[0]?.split('/') ?? []
  return `${method} ${parts.map((part) => (/^(:\w+|[A-Z]+)$/.test(part) ? '*' : part)).join('/')}`
}

test('whoever you are not, you get into no route', async (t) => {
  const scene = await startScene(t)
  await agentOf(t, scene, 'home', scene.token('alice'))

  await t.test('every way in is in the table, and nothing that is not there any more', () => {
    assert.deepEqual([...scene.routes].sort(), Object.keys(ROUTES).sort())
    assert.deepEqual(Object.keys(FRAMES).sort(), Object.keys(FrameType).sort())
    assert.ok(Object.keys(scene.forged).length >= 60)
  })

  await t.test('docs/HTTP.md lists every way in, and no document names another one', async () => {
    const documents = new URL('../../docs/', import.meta.url)
    const listed = await readFile(new URL('HTTP.md', documents), 'utf8')
    const rows = [...listed.matchAll(/^\| `([A-Z]+ \/\S*)` \| [^|]+ \| [^|]+ \|$/gm)].map(
      ([, route]) => route,
    )
    assert.deepEqual(rows.sort(), Object.keys(ROUTES).sort())
    // A route for replicas alone, on another port.
    const known = new Set([...Object.keys(ROUTES), 'GET /relay'].map(withoutNames))
    const names = (await readdir(documents)).filter((name) => name.endsWith('.md'))
    for (const name of [...names, '../README.md']) {
      const text = await readFile(new URL(name, documents), 'utf8')
      for (const [, method, path = ''] of text.matchAll(
        /`(GET|POST|PUT|PATCH|DELETE) (?:\/api\/tunnel)?\/?([^`\s]+)/g,
      ))
        if (!/^(HTTP|https?:)/.test(path))
          assert.ok(known.has(withoutNames(`${method} /${path}`)), `${name}: ${method} ${path}`)
    }
  })

  await t.test('a stranger gets into no route', async () => {
    for (const entry of ofUsers) assert.equal(codeOf(await scene.ask(entry)), 'TOKEN_MISSING', entry.name)
    for (const entry of entries) {
      if (entry.asks === 'metrics') assert.equal(codeOf(await scene.ask(entry)), 'TOKEN_MISSING', entry.name)
      const head = await scene.proxy.app.inject({
        method: 'HEAD',
        url: API + entry.path,
        remoteAddress: '192.0.2.1',
      })
      if (entry.asks !== 'none')
        assert.ok(head.statusCode >= 400, `HEAD of ${entry.name} is ${head.statusCode}`)
    }
  })

  await t.test(
    "an expired, a revoked and a foreign token get into no route, nor does a token's other form",
    async () => {
      const admin = scene.token('root', { roles: ['admin'] })
      const revoked = scene.token('alice')
      const revoke = await scene.ask(
        { ...ROUTES['POST /auth/revoke']!, method: 'POST', body: { token: revoked } },
        admin,
      )
      assert.equal(revoke.statusCode, 204)
      const { secret, refreshTtlMs } = scene.proxy.settings.auth
      const bad: Record<string, [token: string, code: string]> = {
        expired: [scene.token('alice', { ttlSeconds: -60 }), 'TOKEN_EXPIRED'],
        revoked: [revoked, 'TOKEN_REVOKED'],
        foreign: [scene.token('alice', { issuer: 'https://other.example' }), 'TOKEN_INVALID'],
        'for another service': [scene.token('alice', { audience: 'other' }), 'TOKEN_INVALID'],
        'a refresh token': [firstRefreshToken({ secret, refreshTtlMs }, { sub: 'alice' }), 'TOKEN_INVALID'],
        'a megabyte': [`${'a'.repeat(1_048_576)}.b.c`, 'TOKEN_INVALID'],
      }
      for (const [what, [token, code]] of Object.entries(bad)) {
        for (const entry of ofUsers)
          assert.equal(codeOf(await scene.ask(entry, token)), code, `${what}: ${entry.name}`)
      }
    },
  )

  await t.test('no forgery gets into any route', async () => {
    for (const [what, token] of Object.entries(scene.forged)) {
      for (const entry of ofUsers) {
        const code = codeOf(await scene.ask(entry, token))
        assert.ok(code === 'TOKEN_INVALID' || code === 'TOKEN_MISSING', `${what}: ${entry.name} is ${code}`)
      }
    }
    // They would be taken if they were right.
    assert.equal(codeOf(await scene.ask({ ...ROUTES['GET /machines']!, method: 'GET' }, rightToken())), OK)
  })

  await t.test("every route that knows its user takes from that one's bucket, and says so", async () => {
    const token = scene.token('eve', { tier: 'premium' })
    for (const entry of ofUsers) await scene.ask(entry, token)
    for (const entry of ofUsers) {
      const { headers, ...answer } = await scene.ask(entry, token)
      assert.equal(answer.statusCode, 429, entry.name)
      assert.match(String(headers['ratelimit-policy']), /"(user|links)";q=1;w=60/, entry.name)
      assert.match(String(headers.ratelimit), /"(user|links)";r=0;t=/, entry.name)
      assert.ok(Number(headers['retry-after']) > 0, entry.name)
    }
  })

  await t.test("another user and an agent get what the table says, and nothing of alice's", async () => {
    const other = scene.token('mallory')
    const agent = scene.token('alice', { roles: ['agent'], machine: 'home' })
    for (const entry of entries.filter(({ asks }) => asks !== 'none')) {
      const answer = await scene.ask(entry, other)
      assert.equal(codeOf(answer), entry.other, `another user: ${entry.name}`)
      if (entry.asks === 'user') assert.ok(!answer.body.includes('alice'), `${entry.name}: ${answer.body}`)
      assert.equal(codeOf(await scene.ask(entry, agent)), entry.agent, `an agent: ${entry.name}`)
    }
    const mine = await scene.ask(
      { ...ROUTES['GET /machines/:machine']!, method: 'GET' },
      scene.token('alice'),
    )
    assert.equal(mine.json().online, true)
  })

  await t.test('no secret stands in any log, answer, metric or line of the audit trail', async () => {
    assert.ok(scene.proxy.log.length > 100 && scene.secrets.size > 60)
    await assertNoneIsPrinted(scene)
  })
})
