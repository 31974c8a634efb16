import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { endReplaced } from '../../../cli/login/end-login.ts'
import { renew } from '../../../cli/login/issuer.ts'
import type { KeptLogin } from '../../../cli/login/kept-login.ts'
import { CLIENT_ID, startIssuer } from '../../support/oidc-provider.ts'
import { startProxy } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { isolated, startTunnel } from '../tunnel.ts'

const AUDIENCE = 'https://tunnel.example'

test("a login in the place of another user's ends that one at the issuer; the same user's in the same browser ends neither", async (t) => {
  const issuer = await startIssuer(t, AUDIENCE, 600)
  const proxy = await startProxy(t, {
    set: [
      ...[`auth.issuer=${issuer.url}`, `auth.audience=${AUDIENCE}`, `auth.jwks.url=${issuer.url}/jwks`],
      `auth.login.clientId=${CLIENT_ID}`,
    ],
  })
  const folder = await tempFolder(t, 'replaced')
  const file = join(folder, 'config', 'ssh-websocket-tunnel', 'work.login.json')
  const login = async (user: string, cookies: Map<string, string>): Promise<KeptLogin> => {
    const program = startTunnel(t, ['login', 'work', '--url', proxy.url], { env: isolated(folder) })
    const [, address = ''] = await program.line(/^Open (\S+)$/m)
    await issuer.confirm(address, user, 'confirm', cookies)
    const { code } = await program.exit
    assert.equal(code, 0, program.stderr)
    assert.doesNotMatch(program.stderr, /warning/)
    return JSON.parse(await readFile(file, 'utf8')) as KeptLogin
  }
  const renewal = (kept: KeptLogin) => renew(kept, kept.refreshToken ?? '')

  const alices = await login('alice', new Map())
  const browser = new Map<string, string>()
  const bobs = await login('bob', browser)
  await assert.rejects(renewal(alices), { code: 'TOKEN_EXPIRED', message: /invalid_grant/ })
  const again = await login('bob', browser)
  assert.notEqual(again.refreshToken, bobs.refreshToken)
  assert.ok((await renewal(again)).accessToken)
})

test('a login whose place is taken and that cannot be ended is told of in one line, without its token', async (t) => {
  const tokenOf = (sub: string) => `e30.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.x`
  // Nobody is there.
  const place = { issuer: 'http://127.0.0.1:1', clientId: 'tunnel', scope: 'openid', audience: 'tunnel' }
  const loginOf = (sub: string): KeptLogin => ({
    ...{ ...place, accessToken: tokenOf(sub), refreshToken: `refresh-${sub}` },
    ...{ issuedAtMs: 0, expiresAtMs: 1 },
  })
  const { mock: written } = t.mock.method(process.stderr, 'write', () => true)
  await endReplaced(loginOf('alice'), loginOf('alice'))
  await endReplaced({ ...loginOf('alice'), issuer: 'http://127.0.0.1:2' }, loginOf('bob'))
  await endReplaced(undefined, loginOf('bob'))
  await endReplaced(loginOf('alice'), loginOf('bob'))
  const told = written.calls.map(({ arguments: [text] }) => String(text)).join('')
  written.restore()
  assert.match(told, /^tunnel: warning: this login takes the place of .* \(REVOCATION_FAILED\)\n$/)
  assert.ok(told.includes(place.issuer) && !told.includes('refresh-alice'), told)
})
