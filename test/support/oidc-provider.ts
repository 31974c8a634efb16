import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
// @ts-expect-error it has no types
import Provider from 'oidc-provider'
import { signingKey } from './issuer.ts'
import type { Scope } from './scope.ts'

export const CLIENT_ID = 'tunnel-cli'

export interface Issuer {
  url: string
  /** What a person does in a browser with the address that was shown: logs in as `user` and confirms, or refuses. */
  confirm(
    address: string,
    user: string,
    does?: 'confirm' | 'abort',
    cookies?: Map<string, string>,
  ): Promise<void>
  close(): void
}

/** A real issuer with the device flow, whose access tokens are JWTs for `audience`. */
export async function startIssuer(scope: Scope, audience: string, accessTtlSeconds: number): Promise<Issuer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { privateKey, kid } = signingKey('RS256', 'issuer')
  const provider = new Provider(url, {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' } as never] },
    clients: [
      {
        client_id: CLIENT_ID,
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['openid', 'offline_access'],
    cookies: { keys: ['a key of a test'] },
    features: {
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: '',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: accessTtlSeconds,
        }),
      },
    },
    // Each one is good once, as issuers have it for public clients.
    rotateRefreshToken: true,
    async findAccount(_context: unknown, id: string) {
      return { accountId: id, claims: async () => ({ sub: id }) }
    },
  })
  server.on('request', provider.callback())
  const close = (): void => {
    server.closeAllConnections()
    server.close()
  }
  scope.after(close)
  return { url, confirm: browse, close }
}

/** The forms of the issuer's pages, one after the other, as a browser sends them. */
async function browse(
  address: string,
  user: string,
  does: 'confirm' | 'abort' = 'confirm',
  cookies = new Map<string, string>(),
): Promise<void> {
  let location = address
  let form: Record<string, string> | undefined
  for (let step = 0; step < 20; step++) {
    const response = await fetch(location, {
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      ...(form !== undefined && { method: 'POST', body: new URLSearchParams(form) }),
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    const page = await response.text()
    const next = response.headers.get('location')
    if (next !== null) {
      location = new URL(next, location).href
      form = undefined
      continue
    }
    if (form?.abort !== undefined) return
    const action = /<form[^>]*action="([^"]+)"/.exec(page)?.[1]
    if (action === undefined) return
    form = {}
    for (const [input] of page.matchAll(/<input[^>]*>/g)) {
      const [name, value = ''] = ['name', 'value'].map(
        (each) => new RegExp(`${each}="([^"]*)"`).exec(input)?.[1],
      )
      if (name !== undefined) form[name] = value
    }
    if ('login' in form) Object.assign(form, { login: user, password: 'any' })
    if (page.includes('name="abort"') && does === 'abort') form.abort = 'yes'
    location = new URL(action, location).href
  }
  throw new Error(`the issuer's pages do not end: ${location}`)
}
