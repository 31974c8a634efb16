import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { firstRefreshToken } from '../plugins/auth/refresh-tokens.ts'
import { userKeys } from '../plugins/ssh/keys.ts'
import { FrameType } from '../protocol/codec/frames.ts'
import { SUBPROTOCOL } from '../protocol/codec/hello.ts'
import { PROTOCOL_HEADER, STREAM_TYPE } from '../protocol/link/dial-http.ts'
import { SESSION_HEADER } from '../protocol/link/http-uplink.ts'
import { isolated, tunnelLines } from './cli/tunnel.ts'
import { RawClient } from './plugins/links/raw-client.ts'
import { foreignFrames, type Outcome, outcomeOf } from './support/foreign-frames.ts'
import { forgeries } from './support/forgeries.ts'
import { jwkOf, signingKey, startKeyServer, tokenBy } from './support/issuer.ts'
import { listenTcp, startProxy, type TestProxy } from './support/proxy.ts'
import { ticketClient } from './support/ticket-client.ts'
import { API, watchRoutes } from './support/watch-routes.ts'

const ISSUER = 'https://id.example'
const AUDIENCE = 'tunnel'
const KEYS = {
  RS256: signingKey('RS256', 'rsa'),
  PS256: signingKey('PS256', 'pss'),
  ES256: signingKey('ES256', 'ec'),
  EdDSA: signingKey('EdDSA', 'ed'),
}

interface Entry {
  /** `none`: whoever may connect. `metrics`, `body`: what it asks for is not a user's token in a header. */
  asks: 'user' | 'metrics' | 'body' | 'none'
  /** Its path with everything filled in, alice's machine `home` where it has one. */
  path: string
  body?: object
  /** What a user gets who has nothing here; a code where it is refused. */
  other?: string | number
  /** What an agent of alice's gets. */
  agent?: string | number
}

const OK = 200

/** Every route, and what each kind of caller gets. A route that is not here fails the test. */
const ROUTES: Record<string, Entry> = {
  'GET /connect': { asks: 'user', path: '/connect', other: 'REQUEST_INVALID', agent: 'REQUEST_INVALID' },
  'GET /agent': { asks: 'user', path: '/agent', other: 'REQUEST_INVALID', agent: 'REQUEST_INVALID' },
  'POST /connect/stream': {
    ...{ asks: 'user', path: '/connect/stream', other: 'VERSION_UNSUPPORTED', agent: 'VERSION_UNSUPPORTED' },
  },
  'POST /agent/stream': {
    ...{ asks: 'user', path: '/agent/stream', other: 'VERSION_UNSUPPORTED', agent: 'VERSION_UNSUPPORTED' },
  },
  // The session's own secret lets in, together with what opened it.
  'POST /connect/stream/up': {
    ...{ asks: 'body', path: '/connect/stream/up', other: 'SESSION_UNKNOWN', agent: 'SESSION_UNKNOWN' },
  },
  'POST /agent/stream/up': {
    ...{ asks: 'body', path: '/agent/stream/up', other: 'SESSION_UNKNOWN', agent: 'SESSION_UNKNOWN' },
  },
  'GET /machines': { asks: 'user', path: '/machines', other: OK, agent: OK },
  'GET /machines/:machine': { asks: 'user', path: '/machines/home', other: 'MACHINE_UNKNOWN', agent: OK },
  'DELETE /machines/:machine': {
    ...{ asks: 'user', path: '/machines/home', other: 'MACHINE_UNKNOWN', agent: 'FORBIDDEN' },
  },
  'POST /machines/:machine/trust': {
    ...{ asks: 'user', path: '/machines/home/trust', other: 'MACHINE_UNKNOWN', agent: 'FORBIDDEN' },
  },
  'ALL /machines/:machine/http/:port/*': {
    ...{ asks: 'user', path: '/machines/home/http/80/', other: 'MACHINE_UNKNOWN', agent: 'POLICY_DENIED' },
  },
  'POST /machines/:machine/exec': {
    ...{ asks: 'user', path: '/machines/home/exec', body: { command: 'true' } },
    ...{ other: 'MACHINE_UNKNOWN', agent: 'POLICY_DENIED' },
  },
  'GET /machines/:machine/origin/:port': {
    ...{ asks: 'user', path: '/machines/home/origin/80', other: 'MACHINE_UNKNOWN', agent: OK },
  },
  // A name of one's own: the machine that it makes is the caller's.
  'POST /machines/:machine/enrolment': {
    ...{ asks: 'user', path: '/machines/home/enrolment', other: 201, agent: 'FORBIDDEN' },
  },
  'POST /enrolments': {
    ...{
      asks: 'body',
      path: '/enrolments',
      body: { code: 'wrong' },
      other: 'TICKET_INVALID',
      agent: 'TICKET_INVALID',
    },
  },
  'POST /policy/check': {
    ...{ asks: 'user', path: '/policy/check', body: { sub: 'alice', machine: 'home', kind: 'ssh' } },
    ...{ other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  'GET /ssh/key': { asks: 'user', path: '/ssh/key', other: OK, agent: OK },
  'GET /auth/login': { asks: 'none', path: '/auth/login' },
  'POST /auth/ticket': { asks: 'user', path: '/auth/ticket', other: 201, agent: 'FORBIDDEN' },
  'POST /auth/refresh': {
    ...{ asks: 'body', path: '/auth/refresh', body: { refreshToken: 'a.b.c' } },
    ...{ other: 'TOKEN_INVALID', agent: 'TOKEN_INVALID' },
  },
  'POST /auth/revoke': {
    ...{ asks: 'user', path: '/auth/revoke', body: { sub: 'alice' }, other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  // Of the caller alone, unless an admin asks.
  'GET /sessions': { asks: 'user', path: '/sessions', other: OK, agent: 'FORBIDDEN' },
  'GET /sessions/:id/watch': {
    ...{
      asks: 'user',
      path: `/sessions/${'0'.repeat(32)}/watch`,
      other: 'UNKNOWN_STREAM',
      agent: 'FORBIDDEN',
    },
  },
  'DELETE /sessions/:id': {
    ...{
      asks: 'user',
      path: `/sessions/${'0'.repeat(32)}`,
      other: 'UNKNOWN_STREAM',
      agent: 'FORBIDDEN',
    },
  },
  'GET /diagnostics': { asks: 'user', path: '/diagnostics', other: OK, agent: 'FORBIDDEN' },
  'GET /cluster': { asks: 'user', path: '/cluster', other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'GET /config': { asks: 'user', path: '/config', other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'PATCH /config': { asks: 'user', path: '/config', body: {}, other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'PUT /circuits': {
    ...{ asks: 'user', path: '/circuits', body: { user: 'alice', machine: 'home', state: 'open' } },
    ...{ other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  'GET /docs': { asks: 'none', path: '/docs' },
  'GET /docs/json': { asks: 'none', path: '/docs/json' },
  'GET /docs/yaml': { asks: 'none', path: '/docs/yaml' },
  'GET /docs/static/index.html': { asks: 'none', path: '/docs/static/index.html' },
  'GET /docs/static/swagger-initializer.js': { asks: 'none', path: '/docs/static/swagger-initializer.js' },
  'GET /docs/static/*': { asks: 'none', path: '/docs/static/swagger-ui.css' },
  'GET /health': { asks: 'none', path: '/health' },
  'GET /health/ready': { asks: 'none', path: '/health/ready' },
  'GET /metrics': { asks: 'metrics', path: '/metrics', other: 'TOKEN_INVALID', agent: 'TOKEN_INVALID' },
}

/** What a frame on another's stream, in another's name, comes to; alice's stream goes on whatever it is. */
const FRAMES: Record<keyof typeof FrameType, { client: Outcome; agent: Outcome }> = {
  HELLO: { client: 'closed', agent: 'closed' },
  PING: { client: 'answered', agent: 'answered' },
  PONG: { client: 'ignored', agent: 'ignored' },
  // Of the other user, whom the link does not belong to.
  AUTH: { client: 'closed', agent: 'closed' },
  // Only replicas have anything to tell each other.
  MESH: { client: 'closed', agent: 'closed' },
  GOAWAY: { client: 'ignored', agent: 'ignored' },
  OPEN: { client: 'refused', agent: 'refused' },
  ACCEPT: { client: 'closed', agent: 'closed' },
  DATA: { client: 'closed', agent: 'closed' },
  AUX: { client: 'closed', agent: 'closed' },
  EVENT: { client: 'closed', agent: 'closed' },
  END: { client: 'closed', agent: 'closed' },
  WINDOW: { client: 'closed', agent: 'closed' },
  RESET: { client: 'closed', agent: 'closed' },
  SUSPEND: { client: 'closed', agent: 'closed' },
  RESUME: { client: 'refused', agent: 'refused' },
  RESUMED: { client: 'closed', agent: 'closed' },
}

/** A route with a `*` for each part of its path that is a parameter: `:machine`, or as a document fills it in, `MACHINE`. */
function withoutNames(route: string): string {
  const [method, path = ''] = route.split(' ')
  const parts = path.split('?', 1)[0]?.split('/') ?? []
  return `${method} ${parts.map((part) => (/^(:\w+|[A-Z]+)$/.test(part) ? '*' : part)).join('/')}`
}

interface Scene {
  proxy: TestProxy
  routes: Set<string>
  /** Everything that a caller was told. */
  told: string[]
  /** Every secret that was used. */
  secrets: Set<string>
  token(user: string, more?: Parameters<TestProxy['tokenOf']>[1]): string
  forged: Record<string, string>
  ask(entry: Entry & { method: string }, token?: string): Promise<LightMyRequestResponse>
}

async function startScene(t: TestContext): Promise<Scene> {
  const server = await startKeyServer(
    t,
    Object.values(KEYS).map((key) => jwkOf(key)),
  )
  const routes = new Set<string>()
  const metricsToken = 'a token for the metrics alone'
  const set = [
    ...[`auth.issuer=${ISSUER}`, `auth.audience=${AUDIENCE}`, `auth.jwks.url=${server.url}`],
    ...[
      'log.level=trace',
      'gateway.host=tunnel.example',
      `metrics.token=${metricsToken}`,
      'server.docs=true',
    ],
    ...['rateLimit.tiers.premium.perMinute=1', 'rateLimit.tiers.premium.burst=1'],
  ]
  const proxy = await startProxy(t, { set, plugins: [watchRoutes(routes)] })
  const { secret } = proxy.settings.auth
  const now = Math.floor(Date.now() / 1_000)
  const claims = { sub: 'alice', iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + 3_600 }
  const forged = forgeries({ claims, secret, keys: KEYS, keysUrl: server.url })
  const secrets = new Set([secret, proxy.settings.ssh.masterSecret, metricsToken])
  const told: string[] = []
  return {
    ...{ proxy, routes, told, secrets, forged },
    token(user, more) {
      const token = proxy.tokenOf(user, more)
      secrets.add(token)
      return token
    },
    async ask({ method, path, body }, token) {
      if (token !== undefined) secrets.add(token)
      const answer = await proxy.app.inject({
        method: method as 'GET',
        url: API + path,
        // Not of this machine, for the metrics.
        remoteAddress: '192.0.2.1',
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(body !== undefined && { payload: body }),
      })
      if (answer.statusCode >= 400) told.push(JSON.stringify(answer.headers), answer.body)
      return answer
    },
  }
}

function codeOf(answer: LightMyRequestResponse): string | number {
  return answer.statusCode < 400 ? answer.statusCode : (answer.json() as { code: string }).code
}

test('whoever you are not, you get in nowhere', async (t) => {
  const scene = await startScene(t)
  const agentOf = (t: TestContext, machine: string, token: string) =>
    new RawClient(t, { url: scene.proxy.url, token, route: 'agent' }).hello({
      ...{ role: 'agent', machine, enrol: { hostKeys: [], sshUser: 'me' } },
    })

  const entries = () =>
    Object.entries(ROUTES).map(([name, entry]) => ({
      name,
      method: name.split(' ')[0]?.replace('ALL', 'GET') ?? '',
      ...entry,
    }))
  const ofUsers = () => entries().filter(({ asks }) => asks === 'user')

  await agentOf(t, 'home', scene.token('alice'))

  await t.test('every way in is in the table, and nothing that is not there any more', () => {
    assert.deepEqual([...scene.routes].sort(), Object.keys(ROUTES).sort())
    assert.deepEqual(Object.keys(FRAMES).sort(), Object.keys(FrameType).sort())
    assert.ok(Object.keys(scene.forged).length >= 60)
  })

  await t.test('docs/HTTP.md lists every way in, and no document names another one', async () => {
    const documents = new URL('../docs/', import.meta.url)
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
    for (const entry of ofUsers()) assert.equal(codeOf(await scene.ask(entry)), 'TOKEN_MISSING', entry.name)
    for (const entry of entries()) {
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
        for (const entry of ofUsers())
          assert.equal(codeOf(await scene.ask(entry, token)), code, `${what}: ${entry.name}`)
      }
    },
  )

  await t.test('no forgery gets into any route', async () => {
    for (const [what, token] of Object.entries(scene.forged)) {
      for (const entry of ofUsers()) {
        const code = codeOf(await scene.ask(entry, token))
        assert.ok(code === 'TOKEN_INVALID' || code === 'TOKEN_MISSING', `${what}: ${entry.name} is ${code}`)
      }
    }
    // They would be taken if they were right.
    const now = Math.floor(Date.now() / 1_000)
    const right = tokenBy(KEYS.PS256, { sub: 'alice', iss: ISSUER, aud: AUDIENCE, exp: now + 60 })
    assert.equal(codeOf(await scene.ask({ ...ROUTES['GET /machines']!, method: 'GET' }, right)), OK)
  })

  await t.test("every route that knows its user takes from that one's bucket, and says so", async () => {
    const token = scene.token('eve', { tier: 'premium' })
    for (const entry of ofUsers()) await scene.ask(entry, token)
    for (const entry of ofUsers()) {
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
    for (const entry of entries().filter(({ asks }) => asks !== 'none')) {
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

  await t.test(
    "no frame of another's link reaches a stream of alice's, and each comes to what the table says",
    async (t) => {
      const target = await listenTcp(t, (socket) => socket.pipe(socket))
      const agent = await scene.proxy.startAgent('desk', 'alice', target, { token: scene.token('alice') })
      t.after(() => agent.close())
      const alice = await scene.proxy.connect('alice', { token: scene.token('alice') })
      const stream = await alice.open({ machine: 'desk', kind: 'ssh' })
      stream.on('error', () => {})
      const echo = async (text: string) => {
        stream.write(text)
        const [chunk] = (await once(stream, 'data')) as [Buffer]
        assert.equal(String(chunk), text)
      }
      await echo('before')
      // Alice's stream, by its id, as a peer might name it.
      const whose = { machine: 'desk', subject: 'alice', owner: 'alice' }
      const about = (token: string) => foreignFrames({ id: stream.stream.id, kind: 'ssh', ...whose }, token)
      const [mallory, herAgent] = [
        scene.token('mallory'),
        scene.token('alice', { roles: ['agent'], machine: 'other' }),
      ]
      const peers = {
        'a client': [
          'client',
          () => new RawClient(t, { url: scene.proxy.url, token: mallory }).hello(),
          about(scene.token('alice')),
        ],
        'an agent': ['agent', () => agentOf(t, 'mine', mallory), about(scene.token('alice'))],
        'an agent of hers': ['agent', () => agentOf(t, 'other', herAgent), about(mallory)],
      } as const
      for (const [type, entry] of Object.entries(FRAMES)) {
        for (const [who, [role, dial, foreign]] of Object.entries(peers)) {
          const raw = await dial()
          const frame = foreign[type as keyof typeof FrameType]
          assert.equal(await outcomeOf(raw, frame, type === 'AUTH'), entry[role], `${type} of ${who}`)
          raw.socket.terminate()
          await echo(`${type} ${who}`)
        }
      }
    },
  )

  await t.test('no forgery renews a link, and none opens one', async (t) => {
    for (const [what, token] of Object.entries(scene.forged)) {
      scene.secrets.add(token)
      const raw = await new RawClient(t, { url: scene.proxy.url, token: scene.token('alice') }).hello()
      raw.json(FrameType.AUTH, 0, { token })
      const { code, reason } = await raw.closed
      scene.told.push(reason)
      assert.equal(code, 4401, what)
    }
  })

  await t.test('tickets, refresh tokens, codes, cookies and sessions are used', async (t) => {
    const { proxy, secrets } = scene
    const ask = (route: string, more: Partial<Entry & { method: string }> = {}, token?: string) =>
      scene.ask({ asks: 'user', path: route, method: 'POST', ...more }, token)
    const kept = (secret: unknown): string => {
      assert.equal(typeof secret, 'string')
      secrets.add(String(secret))
      return String(secret)
    }
    const alice = scene.token('alice')
    const ticket = kept((await ask('/auth/ticket', {}, alice)).json().ticket)
    assert.deepEqual([await ticketClient(proxy, ticket), await ticketClient(proxy, ticket)], [101, 401])

    const { secret, refreshTtlMs } = proxy.settings.auth
    const refreshToken = kept(firstRefreshToken({ secret, refreshTtlMs }, { sub: 'alice' }))
    const next = (await ask('/auth/refresh', { body: { refreshToken } })).json()
    for (const part of ['token', 'refreshToken']) kept(next[part])
    for (const used of [refreshToken, next.refreshToken])
      assert.equal(codeOf(await ask('/auth/refresh', { body: { refreshToken: used } })), 'TOKEN_REVOKED')

    const code = kept((await ask('/machines/third/enrolment', {}, alice)).json().code)
    kept((await ask('/enrolments', { body: { code } })).json().token)
    assert.equal(codeOf(await ask('/enrolments', { body: { code } })), 'TICKET_INVALID')

    const { origin } = (await ask('/machines/home/origin/80', { method: 'GET' }, alice)).json()
    const visit = (url: string, cookie = '') =>
      proxy.app.inject({ url, headers: { host: new URL(origin).host, cookie } })
    const second = kept((await ask('/auth/ticket', {}, alice)).json().ticket)
    const [cookie = ''] = String((await visit(`/?ticket=${second}`)).headers['set-cookie']).split(';')
    kept(cookie.slice(cookie.indexOf('=') + 1))
    for (const answer of [await visit('/', cookie), await visit(`/?ticket=${second}`)]) {
      assert.ok(answer.statusCode >= 400)
      scene.told.push(JSON.stringify(answer.headers), answer.body)
    }

    const over = new AbortController()
    t.after(() => over.abort())
    const stream = await fetch(`${proxy.url}${API}/connect/stream`, {
      method: 'POST',
      headers: { authorization: `Bearer ${alice}`, [PROTOCOL_HEADER]: SUBPROTOCOL },
      signal: over.signal,
    })
    const session = kept(stream.headers.get(SESSION_HEADER))
    const post = (authorization: string) =>
      fetch(`${proxy.url}${API}/connect/stream/up`, {
        method: 'POST',
        headers: { authorization, [SESSION_HEADER]: session, 'content-type': STREAM_TYPE },
        body: 'x',
      })
    const stolen = await post(`Bearer ${scene.token('mallory')}`)
    scene.told.push(await stolen.text())
    assert.equal(stolen.status, 404)
    // Those that log in to machines.
    for (const { privateKey } of userKeys([proxy.settings.ssh.masterSecret], 'alice'))
      for (const line of privateKey.split('\n')) if (/^[\w+/=]{40,}$/.test(line)) secrets.add(line)
  })

  await t.test(
    'no secret stands in any log, answer, close reason, metric or line of the audit trail',
    async () => {
      const { proxy, told, secrets } = scene
      const commands = ['status', 'status --json', 'diagnose', 'diagnose other', 'sessions']
      const lines = commands.map((line) => [...line.split(' '), '--verbose'])
      const good = { TUNNEL_URL: proxy.url, TUNNEL_TOKEN: scene.token('alice') }
      const bad = { ...good, TUNNEL_TOKEN: scene.token('alice', { ttlSeconds: -3_600 }) }
      const nobody = { ...good, TUNNEL_URL: 'http://127.0.0.1:1' }
      for (const access of [good, bad, nobody]) {
        const printed = await tunnelLines(lines, isolated(proxy.settings.state.dir, access))
        for (const { stdout, stderr } of printed) told.push(stdout, stderr)
      }
      // As the server logs what nothing caught.
      const token = scene.token('alice')
      const request = {
        headers: { authorization: `Bearer ${token}` },
        url: `/x?token=${token}`,
        secret: proxy.settings.auth.secret,
      }
      const err = Object.assign(new Error(`nobody takes "Bearer ${token}"`), {
        token,
        request,
        cause: new Error(token),
      })
      proxy.app.log.error({ err }, 'an error that nothing caught')
      const metrics = await (await fetch(`${proxy.url}${API}/metrics`)).text()
      await proxy.close()
      const audit = await readFile(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
      const printed = [...proxy.log.map((line) => JSON.stringify(line)), ...told, metrics, audit].join('\n')
      assert.ok(proxy.log.length > 100 && secrets.size > 100)
      for (const secret of secrets) {
        // Of a token the signature alone would be enough to use it.
        const parts = [secret, ...(secret.length > 100 ? [secret.slice(secret.lastIndexOf('.') + 1)] : [])]
        for (const part of parts.filter(({ length }) => length > 15)) {
          assert.ok(!printed.includes(part), `${part.slice(0, 12)}… was printed`)
        }
      }
      // No user is a label.
      assert.ok(!/alice|mallory/.test(metrics))
    },
  )
})
