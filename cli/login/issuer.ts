import * as oauth from 'openid-client'
import type { LoginPlace } from '../../dial/login.ts'
import { askToken } from '../../dial/token.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { readText } from '../../protocol/link/read-text.ts'
import { isLoopback } from '../credentials.ts'
import { visible } from '../output.ts'
import { unlessStopped } from '../stop.ts'
import { type Prompt, promptOf } from './prompt.ts'

export interface IssuedTokens {
  accessToken: string
  refreshToken?: string
  issuedAtMs: number
  /** Epoch ms. */
  expiresAtMs: number
}

/** How long the issuer may take for one answer, in seconds. */
const ANSWER_SECONDS = 15
/** No answer of an issuer's is longer. */
const MAX_ANSWER_BYTES = 262_144
/** How long a token is taken to live whose issuer does not say, in seconds. */
const UNKNOWN_LIFE_SECONDS = 300
/** A token that is to live longer is taken to live as long as this, in seconds: ten years. */
const MAX_LIFE_SECONDS = 315_360_000
/** How long a code is waited for at most, in seconds: a timer has an end of its own. */
const MAX_WAIT_SECONDS = 86_400
/** Between two questions whether a code was confirmed, in seconds: where the issuer does not say (RFC 8628), and at least. */
const USUAL_INTERVAL_SECONDS = 5
const MIN_INTERVAL_SECONDS = 1
/** Of an issuer's own word for what failed, what is shown, in characters. */
const MAX_WORD = 60

/** Asks an issuer, which anybody may have named, for no more than fits into memory. */
const askIssuer: oauth.CustomFetch = async (url, options) => {
  const response = await fetch(url, options as RequestInit)
  const { status, statusText, headers } = response
  const text = await readText(response, MAX_ANSWER_BYTES)
  return new Response(text === '' ? null : text, { status, statusText, headers })
}

async function discover({ issuer, clientId }: LoginPlace): Promise<oauth.Configuration> {
  // Metadata that anybody on the way could change would name another place for the tokens.
  const options = isLoopback(issuer) ? { execute: [oauth.allowInsecureRequests] } : {}
  const asked = { ...options, timeout: ANSWER_SECONDS, [oauth.customFetch]: askIssuer }
  return oauth.discovery(new URL(issuer), clientId, undefined, oauth.None(), asked)
}

/** RFC 8707 for an audience that is an address; issuers that know it not take `audience`. */
function forAudience(audience: string): Record<string, string> {
  if (audience === '') return {}
  return URL.canParse(audience) ? { resource: audience } : { audience }
}

/**
 * The device flow (RFC 8628): the person confirms a code in a browser, on whatever computer.
 * @param prompted told where and which
 * @throws {TunnelError} TOKEN_MISSING, TOKEN_INVALID
 */
export async function logIn(place: LoginPlace, prompted: (prompt: Prompt) => void): Promise<IssuedTokens> {
  let waiting: AbortSignal | undefined
  try {
    const configuration = await discover(place)
    const audience = forAudience(place.audience)
    const asked = await oauth.initiateDeviceAuthorization(configuration, { scope: place.scope, ...audience })
    prompted(promptOf(asked))
    waiting = AbortSignal.timeout(Math.min(asked.expires_in, MAX_WAIT_SECONDS) * 1_000)
    const interval = Math.max(asked.interval ?? USUAL_INTERVAL_SECONDS, MIN_INTERVAL_SECONDS)
    const paced = { ...asked, interval }
    const options = { signal: waiting }
    return await tokensOf(await oauth.pollDeviceAuthorizationGrant(configuration, paced, audience, options))
  } catch (error) {
    throw waiting?.aborted === true
      ? noLogin(place.issuer, NOT_IN_TIME, error)
      : notLoggedIn(place.issuer, error)
  }
}

/**
 * New tokens for a refresh token, which may be used up by it.
 * @param hurry once it is aborted, the refresh token is not sent any more
 * @throws {TunnelError} TOKEN_EXPIRED, or as the network fails
 */
export async function renew(
  place: LoginPlace,
  refreshToken: string,
  hurry: AbortSignal = new AbortController().signal,
): Promise<IssuedTokens> {
  try {
    const configuration = await unlessStopped(discover(place), hurry)
    const issued = await oauth.refreshTokenGrant(configuration, refreshToken, forAudience(place.audience))
    return { refreshToken, ...(await tokensOf(issued)) }
  } catch (error) {
    if (!(error instanceof oauth.ResponseBodyError)) throw notLoggedIn(place.issuer, error)
    const message = `${place.issuer} does not renew the login (${wordOf(error)})`
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

/** @throws {TunnelError} TOKEN_INVALID for what is no token that a request could carry */
async function tokensOf(answer: oauth.TokenEndpointResponse): Promise<IssuedTokens> {
  const { refresh_token: refreshToken, expires_in: seconds = UNKNOWN_LIFE_SECONDS } = answer
  const issuedAtMs = Date.now()
  return {
    accessToken: await askToken(answer.access_token),
    ...(refreshToken !== undefined && { refreshToken }),
    issuedAtMs,
    expiresAtMs: issuedAtMs + Math.min(seconds, MAX_LIFE_SECONDS) * 1_000,
  }
}

const NOT_IN_TIME = 'the code was not confirmed in time'

/** Words of an issuer's (RFC 8628, section 3.5) that a person is told in ours. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['access_denied', 'the login was refused there'],
  ['expired_token', NOT_IN_TIME],
])

/** By openid-client's codes. */
const FAULTS: ReadonlyMap<string, string> = new Map([
  ['OAUTH_TIMEOUT', 'it does not answer in time'],
  ['OAUTH_HTTP_REQUEST_FORBIDDEN', 'tokens are asked for by https alone'],
])

function wordOf({ error }: oauth.ResponseBodyError): string {
  return visible(error.length > MAX_WORD ? `${error.slice(0, MAX_WORD)}…` : error)
}

function notLoggedIn(issuer: string, error: unknown): TunnelError {
  if (error instanceof TunnelError) return error
  if (error instanceof oauth.ResponseBodyError)
    return noLogin(issuer, REASONS.get(error.error) ?? wordOf(error), error)
  if (!(error instanceof oauth.ClientError)) return noLogin(issuer, 'it cannot be reached', error)
  return noLogin(issuer, FAULTS.get(error.code ?? '') ?? 'its answer is not what an issuer says', error)
}

function noLogin(issuer: string, reason: string, cause: unknown): TunnelError {
  return new TunnelError('TOKEN_MISSING', `there is no login at ${issuer}: ${reason}`, {
    hop: 'client',
    cause,
    suggestion: 'run `tunnel login` again',
  })
}
