import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { KeptLogin } from '../../../cli/login/kept-login.ts'
import { readAll } from '../../support/proxy.ts'
import type { Scope } from '../../support/scope.ts'
import { tempFolder } from '../../support/tree.ts'

/** A token of a user, as far as a client reads it. */
export const tokenOf = (sub: string) => `e30.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.x`

export interface HeldIssuer {
  url: string
  /** Tokens that it was told to revoke. */
  revoked: string[]
  /** Settles when an answer is held back. */
  held: Promise<void>
  /** Gives the answers that were held back, and all others. */
  release(): void
}

/** A proxy and its issuer in one, whose logins are all Bob's, and which holds back what is asked at one address. */
export async function startHeldIssuer(scope: Scope, heldAt: string | undefined): Promise<HeldIssuer> {
  const revoked: string[] = []
  const answers: (() => void)[] = []
  let [isOpen, tellHeld] = [false, () => {}]
  const held = new Promise<void>((resolve) => {
    tellHeld = resolve
  })
  const answerTo = (path: string, body: string): object | undefined => {
    const at = (name: string) => `${url}/${name}`
    if (path === '/api/tunnel/auth/login')
      return { issuer: url, clientId: 'c', scope: 'openid', audience: '' }
    if (path === '/api/tunnel/machines') return []
    if (path === '/device')
      return {
        ...{ device_code: 'd', user_code: 'ABCD-EFGH', verification_uri: at('confirm') },
        ...{ expires_in: 600, interval: 1 },
      }
    if (path === '/token')
      return {
        ...{ access_token: tokenOf('bob'), refresh_token: 'refresh-bob' },
        ...{ token_type: 'Bearer', expires_in: 600 },
      }
    if (path === '/revoke') revoked.push(new URLSearchParams(body).get('token') ?? '')
    if (/revoke$/.test(path)) return {}
    return {
      ...{ issuer: url, token_endpoint: at('token'), revocation_endpoint: at('revoke') },
      device_authorization_endpoint: at('device'),
    }
  }
  const server = createServer((request, response) => {
    void readAll(request).then((body) => {
      const path = request.url ?? ''
      const answer = (): void => {
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify(answerTo(path, String(body))))
      }
      if (isOpen || heldAt === undefined || !path.startsWith(heldAt)) return answer()
      answers.push(answer)
      tellHeld()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => server.close())
  scope.after(() => server.closeAllConnections())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const release = (): void => {
    isOpen = true
    for (const answer of answers) answer()
  }
  return { url, revoked, held, release }
}

/** A folder in which Alice is logged in at such an issuer, in the context that is used. */
export async function loggedIn(scope: Scope, url: string, expiresAtMs = Date.now() + 600_000) {
  const folder = await tempFolder(scope, 'held')
  const place = join(folder, 'config', 'ssh-websocket-tunnel')
  const [file, path] = [join(place, 'work.login.json'), join(place, 'config.json')]
  const login: KeptLogin = {
    ...{ issuer: url, clientId: 'c', scope: 'openid', audience: '' },
    ...{ accessToken: tokenOf('alice'), refreshToken: 'refresh-alice' },
    ...{ issuedAtMs: Math.min(Date.now(), expiresAtMs - 1), expiresAtMs },
  }
  mkdirSync(place, { recursive: true, mode: 0o700 })
  writeFileSync(file, JSON.stringify(login), { mode: 0o600 })
  const configuration = { current: 'work', contexts: { work: { url, loginFile: 'work.login.json' } } }
  writeFileSync(path, JSON.stringify(configuration), { mode: 0o600 })
  return { folder, place, file, path, login }
}
