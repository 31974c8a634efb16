import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { logIn } from '../../../cli/login/issuer.ts'
import { freshToken } from '../../../cli/login/kept-login.ts'
import { type Prompt, promptOf } from '../../../cli/login/prompt.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { tempFolder } from '../../support/tree.ts'
import { isolated, tunnel } from '../tunnel.ts'

type Answer = object | ((response: ServerResponse) => void)
/** What an issuer answers at each of its addresses where that is not what an honest one does. */
interface Lies {
  metadata?: Answer
  device?: Answer
  token?: Answer
}

const DEVICE = {
  ...{ device_code: 'device', user_code: 'ABCD-EFGH', verification_uri: 'https://issuer.example/device' },
  ...{ expires_in: 600, interval: 1 },
}
const TOKEN = { access_token: 'access', refresh_token: 'refresh', token_type: 'Bearer', expires_in: 600 }

/** An answer without an end, of which everything is sent that is read. */
function endless(response: ServerResponse): void {
  const piece = ' '.repeat(65_536)
  const write = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', write)
  }
  response.writeHead(200, { 'content-type': 'application/json' })
  write()
}

const refusal =
  (error: string, status = 400): Answer =>
  (response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
  }

async function startLiar(t: TestContext, lies: Lies): Promise<string> {
  const server = createServer((request, response) => {
    request.resume()
    response.on('error', () => {})
    const honest = { token_endpoint: `${url}/token`, device_authorization_endpoint: `${url}/device` }
    const { metadata = { issuer: url, ...honest }, device, token } = lies
    const answer =
      request.url === '/device'
        ? typeof device === 'function'
          ? device
          : { ...DEVICE, ...device }
        : request.url === '/token'
          ? typeof token === 'function'
            ? token
            : { ...TOKEN, ...token }
          : metadata
    if (typeof answer === 'function') return answer(response)
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(answer))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  t.after(() => server.closeAllConnections())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return url
}

const placeAt = (issuer: string) => ({ issuer, clientId: 'tunnel', scope: 'openid', audience: '' })

/** What the login at such an issuer comes to, and what its person was shown. */
async function outcome(t: TestContext, lies: Lies) {
  const prompts: Prompt[] = []
  const url = await startLiar(t, lies)
  const done = await logIn(placeAt(url), (prompt) => prompts.push(prompt)).catch((error) => error)
  if (!(done instanceof TunnelError)) return { tokens: done, prompts, told: '', why: '' }
  const { cause } = done.cause instanceof Error ? done.cause : {}
  return { error: done, prompts, told: done.message.replace(url, 'ISSUER'), why: String(cause) }
}

const NONSENSE = /^there is no login at ISSUER: its answer is not what an issuer says$/

test('no answer of an issuer is read without end, and what makes no sense is told as that', async (t) => {
  const cases: [Lies, RegExp][] = [
    ...(['metadata', 'device', 'token'] as const).map((at): [Lies, RegExp] => [{ [at]: endless }, NONSENSE]),
    [{ metadata: { issuer: 'https://other.example' } }, NONSENSE],
    [
      { metadata: (response) => void response.writeHead(302, { location: 'http://127.0.0.1:1' }).end() },
      NONSENSE,
    ],
    [{ metadata: (response) => void response.end('<html>') }, NONSENSE],
    [{ device: { user_code: '' } }, NONSENSE],
    [{ device: { interval: -1 } }, NONSENSE],
    [{ token: { access_token: 'a'.repeat(300_000) } }, NONSENSE],
    [{ token: { expires_in: -5 } }, NONSENSE],
    [{ token: { access_token: 'a'.repeat(20_000) } }, /^the token has 20000 characters/],
    [{ token: { access_token: 'a\r\nX: y' } }, /^the token holds white space/],
    [{ token: refusal('access_denied') }, /: the login was refused there$/],
    [{ token: refusal('expired_token') }, /: the code was not confirmed in time$/],
    [
      { token: refusal('authorization_pending'), device: { expires_in: 1.5 } },
      /: the code was not confirmed in time$/,
    ],
    // No word of an issuer's is a key of what we know of, or fills the terminal.
    [{ token: refusal('__proto__') }, /: __proto__$/],
    [{ token: refusal('constructor') }, /: constructor$/],
    [{ token: refusal('\u001b[2J') }, /: \ufffd\[2J$/],
    [{ token: refusal('e'.repeat(100_000)) }, /: e{60}…$/],
  ]
  await Promise.all(
    cases.map(async ([lies, expected]) => {
      const { told, why } = await outcome(t, lies)
      assert.match(told, expected, JSON.stringify(lies))
      if (Object.values(lies).includes(endless)) assert.match(why, /longer than 262144 bytes/)
    }),
  )
})

test('a code may hold for ever and a token too; an issuer that asks for a flood of questions does not get it', async (t) => {
  const [code, token] = await Promise.all([
    outcome(t, { device: { expires_in: 1e300 } }),
    outcome(t, { token: { expires_in: 1e300 } }),
  ])
  assert.equal(code.tokens?.accessToken, 'access', code.told)
  const expiresAtMs = Number(token.tokens?.expiresAtMs)
  assert.ok(expiresAtMs > Date.now() && new Date(expiresAtMs).toISOString().startsWith('2'))
  let questions = 0
  const pending: Answer = (response) => {
    questions++
    ;(refusal('authorization_pending') as (response: ServerResponse) => void)(response)
  }
  await outcome(t, { device: { interval: 1e-6, expires_in: 2.5 }, token: pending })
  assert.ok(questions <= 3, String(questions))
})

test('a person is sent to a web page alone, and is shown its address as a browser reads it', () => {
  const shown = (verification_uri: string, user_code = 'ABCD-EFGH') =>
    promptOf({ verification_uri, user_code }).url
  assert.equal(shown('https://issuer.example/device?x=1'), 'https://issuer.example/device?x=1')
  assert.equal(shown('https://x/\u001b[2J\u0007\nroot:'), 'https://x/%1B[2J%07root:')
  assert.equal(shown('https://x/\u202egro.live'), 'https://x/%E2%80%AEgro.live')
  assert.equal(shown('https://аpple.example/'), 'https://xn--pple-43d.example/')
  const addresses = [
    'javascript:alert(1)',
    'file:///etc/passwd',
    'run: curl x | sh',
    `https://x/${'a'.repeat(3_000)}`,
  ]
  for (const address of [...addresses, 'https://issuer.example@evil.example/'])
    assert.throws(() => shown(address), /not that of a web page/, address)
  assert.equal(promptOf({ verification_uri: 'https://x/', user_code: 'АБВГ 1234' }).code, 'АБВГ 1234')
  for (const code of [' x', 'x\n', 'X. Now run `curl x|sh`', 'a'.repeat(65)])
    assert.throws(() => shown('https://x/', code), /none that a person could type/, code)
})

test('what a proxy says of where to log in is checked, and nothing beside it is kept', async (t) => {
  const folder = await tempFolder(t, 'liar')
  for (const told of ['null', '', '[]', '{"issuer":"not a url","clientId":"c","scope":"","audience":""}']) {
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end(told)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const { code, stderr } = await tunnel(['login', '--url', url], { env: isolated(folder) })
    assert.equal(code, 4, stderr)
    assert.match(stderr, /names no place to log in at.*CONNECT_REFUSED/)
  }
})

test('a disk that takes nothing ends no login whose token holds, nor does a mark from a clock that was wrong', async (t) => {
  const folder = await tempFolder(t, 'full')
  const nowMs = Date.now()
  const login = {
    ...placeAt('http://127.0.0.1:1'),
    accessToken: 'old',
    refreshToken: 'once',
    issuedAtMs: nowMs - 9_000_000,
  }
  // No lock can be made beside a file with so long a name.
  const file = join(folder, 'a'.repeat(250))
  await writeFile(file, JSON.stringify({ ...login, expiresAtMs: nowMs + 600_000 }), { mode: 0o600 })
  assert.equal(await freshToken(file), 'old')
  await writeFile(file, JSON.stringify({ ...login, expiresAtMs: nowMs - 1 }), { mode: 0o600 })
  await assert.rejects(freshToken(file), { code: 'CONFIG_INVALID' })

  const marked = { ...login, expiresAtMs: nowMs - 1, renewingUntilMs: nowMs + 1e9 }
  await writeFile(join(folder, 'marked'), JSON.stringify(marked), { mode: 0o600 })
  // Nobody is there: that is found out by whoever begins to renew it.
  await assert.rejects(freshToken(join(folder, 'marked')), { code: 'TOKEN_MISSING' })
})
