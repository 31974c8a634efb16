import * as oauth from 'openid-client'
import type { LoginPlace } from '../../dial/login.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { isLoopback } from '../credentials.ts'
import { visible } from '../output.ts'

export interface IssuedTokens {
  accessToken: string
  refreshToken?: string
  issuedAtMs: number
  /** Epoch ms. */
  expiresAtMs: number
}

/** How a person goes on in a browser (RFC 8628, section 3.2). */
export interface Prompt {
  url: string
  code: string
}

/** How long the issuer may take for one answer, in seconds. */
const ANSWER_SECONDS = 15
/** How long a token is taken to live whose issuer does not say, in seconds. */
const UNKNOWN_LIFE_SECONDS = 300

async function discover({ issuer, clientId }: LoginPlace): Promise<oauth.Configuration> {
  // Metadata that anybody on the way could change would name another place for the tokens.
  const options = isLoopback(issuer) ? { execute: [oauth.allowInsecureRequests] } : {}
  const answer = { ...options, timeout: ANSWER_SECONDS }
  return oauth.discovery(new URL(issuer), clientId, undefined, oauth.None(), answer)
}

/** RFC 8707 for an audience that is an address; issuers that know it not take `audience`. */
function forAudience(audience: string): Record<string, string> {
  if (audience === '') return {}
  return URL.canParse(audience) ? { resource: audience } : { audience }
}

/**
 * The device flow (RFC 8628): the person confirms a code in a browser, on whatever computer.
 * @param prompted told where and which
 * @throws {TunnelError} TOKEN_MISSING
 */
export async function logIn(place: LoginPlace, prompted: (prompt: Prompt) => void): Promise<IssuedTokens> {
  try {
    const configuration = await discover(place)
    const audience = forAudience(place.audience)
    const asked = await oauth.initiateDeviceAuthorization(configuration, { scope: place.scope, ...audience })
    prompted({ url: asked.verification_uri_complete ?? asked.verification_uri, code: asked.user_code })
    const signal = AbortSignal.timeout(asked.expires_in * 1_000)
    return tokensOf(await oauth.pollDeviceAuthorizationGrant(configuration, asked, audience, { signal }))
  } catch (error) {
    throw notLoggedIn(place.issuer, error)
  }
}

/** New tokens for a refresh token, which may be used up by it. @throws {TunnelError} TOKEN_EXPIRED, or as the network fails */
export async function renew(place: LoginPlace, refreshToken: string): Promise<IssuedTokens> {
  try {
    const configuration = await discover(place)
    const issued = await oauth.refreshTokenGrant(configuration, refreshToken, forAudience(place.audience))
    return { refreshToken, ...tokensOf(issued) }
  } catch (error) {
    if (!(error instanceof oauth.ResponseBodyError)) throw notLoggedIn(place.issuer, error)
    const message = `${place.issuer} does not renew the login (${visible(error.error)})`
    throw new TunnelError('TOKEN_EXPIRED', message, {
      hop: 'client',
      cause: error,
      suggestion: 'run `tunnel login`',
    })
  }
}

/** Ends the login at the issuer (RFC 7009). @throws what openid-client throws, and where it cannot be ended there */
export async function revokeAtIssuer(place: LoginPlace, token: string): Promise<void> {
  const configuration = await discover(place)
  if (configuration.serverMetadata().revocation_endpoint === undefined)
    throw new Error('it names no address at which a token can be revoked')
  await oauth.tokenRevocation(configuration, token)
}

function tokensOf(answer: oauth.TokenEndpointResponse): IssuedTokens {
  const { access_token: accessToken, refresh_token: refreshToken, expires_in: seconds } = answer
  const issuedAtMs = Date.now()
  return {
    accessToken,
    ...(refreshToken !== undefined && { refreshToken }),
    issuedAtMs,
    expiresAtMs: issuedAtMs + (seconds ?? UNKNOWN_LIFE_SECONDS) * 1_000,
  }
}

const REASONS: Readonly<Record<string, string>> = {
  access_denied: 'the login was refused there',
  expired_token: 'the code was not confirmed in time',
  TimeoutError: 'the code was not confirmed in time',
}

function notLoggedIn(issuer: string, error: unknown): TunnelError {
  const told = error instanceof oauth.ResponseBodyError ? error.error : (error as Error).name
  const reason =
    REASONS[told] ?? (error instanceof oauth.ResponseBodyError ? visible(told) : 'it cannot be reached')
  const message = `there is no login at ${issuer}: ${reason}`
  return new TunnelError('TOKEN_MISSING', message, {
    hop: 'client',
    cause: error,
    suggestion: 'run `tunnel login` again',
  })
}
