import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { RawClient } from '../plugins/links/raw-client.ts'
import { forgeries } from '../support/forgeries.ts'
import { jwkOf, signingKey, startKeyServer, tokenBy } from '../support/issuer.ts'
import { startProxy, type TestProxy } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { API, watchRoutes } from '../support/watch-routes.ts'
import type { Entry } from './table.ts'

const ISSUER = 'https://id.example'
const AUDIENCE = 'tunnel'
const KEYS = {
  RS256: signingKey('RS256', 'rsa'),
  PS256: signingKey('PS256', 'pss'),
  ES256: signingKey('ES256', 'ec'),
  EdDSA: signingKey('EdDSA', 'ed'),
}

/** Agents here answer no PING, and all that is asked takes a busy computer longer than a heartbeat. */
const PATIENT = { intervalMs: 600_000, timeoutMs: 900_000 }

export interface Scene {
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

export async function startScene(t: TestContext): Promise<Scene> {
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
    ...[`heartbeat.intervalMs=${PATIENT.intervalMs}`, `heartbeat.timeoutMs=${PATIENT.timeoutMs}`],
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

export function codeOf(answer: LightMyRequestResponse): string | number {
  return answer.statusCode < 400 ? answer.statusCode : (answer.json() as { code: string }).code
}

/** An agent of the token's user, by its own frames. */
export function agentOf(scope: Scope, { proxy }: Scene, machine: string, token: string): Promise<RawClient> {
  return new RawClient(scope, { url: proxy.url, token, route: 'agent' }).hello({
    ...{ role: 'agent', machine, heartbeat: PATIENT, enrol: { hostKeys: [], sshUser: 'me' } },
  })
}

/** One that is right in all that the forgeries are wrong in, but for its name. */
export function rightToken(): string {
  const exp = Math.floor(Date.now() / 1_000) + 60
  return tokenBy(KEYS.PS256, { sub: 'alice', iss: ISSUER, aud: AUDIENCE, exp })
}

/** Ends the proxy: none of the secrets that were used stands in its log, metrics and audit trail, or in what callers were told. */
export async function assertNoneIsPrinted({ proxy, told, secrets }: Scene): Promise<void> {
  const metrics = await (await fetch(`${proxy.url}${API}/metrics`)).text()
  await proxy.close()
  const audit = await readFile(join(proxy.settings.state.dir, 'audit.log'), 'utf8')
  const printed = [...proxy.log.map((line) => JSON.stringify(line)), ...told, metrics, audit].join('\n')
  for (const secret of secrets) {
    // Of a token the signature alone would be enough to use it.
    const parts = [secret, ...(secret.length > 100 ? [secret.slice(secret.lastIndexOf('.') + 1)] : [])]
    for (const part of parts.filter(({ length }) => length > 15)) {
      assert.ok(!printed.includes(part), `${part.slice(0, 12)}… was printed`)
    }
  }
  // No user is a label.
  assert.ok(!/alice|mallory/.test(metrics))
}
