import fastifyJwt from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { LoginPlace } from '../../dial/login.ts'
import { systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import { bearerOf } from './bearer.ts'
import { roleMissing, secretUnfit, tokenExpired, tokenRevoked } from './errors.ts'
import { IssuerKeys } from './issuer-keys.ts'
import type { AuthOptions } from './options.ts'
import { Revocations } from './revocations.ts'
import { type Revocation, Revoker } from './revoker.ts'
import { type AuthScheme, Schemes } from './schemes.ts'
import { type Refreshed, Sessions } from './sessions.ts'
import { Tickets } from './tickets.ts'
import { OWN_ALGORITHM, TokenReader } from './token-reader.ts'
import { signToken, type TokenRequest, type User } from './tokens.ts'
import { checked, type Verify, verifyOptions } from './verifier.ts'

export type { ClockSpread } from './revocations.ts'
export type { Revocation } from './revoker.ts'
export type { AuthScheme, SchemeUser } from './schemes.ts'
export type { Refreshed } from './sessions.ts'
export type { Credential, Tier, User } from './tokens.ts'

export interface Auth {
  /** Adds a way to say who one is, beside tokens, for every route and link. Throws CONFIG_INVALID. */
  addScheme(scheme: AuthScheme): void
  /** What a request without credentials is told in WWW-Authenticate. @default 'Bearer' */
  readonly challenges?: string
  /** Throws TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED. */
  verify(token: string): Promise<User>
  /** Whether a user who was verified may go on: throws TOKEN_EXPIRED or TOKEN_REVOKED. */
  check(user: User): void
  /** Where users log in; undefined where no issuer is configured for that. */
  readonly loginPlace: LoginPlace | undefined
  /** A token that this proxy verifies. */
  sign(request: Omit<TokenRequest, 'issuer' | 'audience'>): string
  /** The token of the Authorization header; throws TOKEN_MISSING or TOKEN_INVALID. */
  bearer(request: FastifyRequest): string
  /** A ticket for `connect?ticket=`, good for one use within seconds. */
  makeTicket(user: User): Promise<{ ticket: string; expiresAtMs: number }>
  /** The user of a ticket, which is used up. Throws TICKET_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED. */
  useTicket(ticket: string): Promise<User>
  /** The next token and refresh token. With the same `requestId` an answer that was lost is given again. */
  refresh(refreshToken: string, requestId?: string): Promise<Refreshed>
  /** Ends tokens in the name of `user`; returns what was ended. Throws FORBIDDEN, REQUEST_INVALID. */
  revoke(user: User, what: Revocation): Promise<Record<string, string>>
  /** Calls `listener` for each revocation, with what says whom it concerns; returns what ends that. */
  onRevoked(listener: (isRevoked: (user: User) => boolean, error: TunnelError) => void): () => void
  /** For several replicas, which tell each other of revocations; absent where they are kept by other means. */
  readonly told?: Pick<Revocations, 'onOwn' | 'learn' | 'spreadClocks'>
}

/** A hook for `onRequest` or `preHandler` of a route. */
export type AuthHook = (request: FastifyRequest) => Promise<void>

declare module 'fastify' {
  interface FastifyInstance {
    auth: Auth
    /** Sets `request.user`, or refuses. */
    requireUser: AuthHook
    /** The same for a WebSocket: a browser has no header to send, and brings `?ticket=`. */
    requireUserOrTicket: AuthHook
    /** Refuses with FORBIDDEN a user who lacks the role; includes `requireUser`. */
    requireRole(role: string): AuthHook
  }
}

declare module '@fastify/jwt' {
  interface FastifyJWT {
    payload: Record<string, unknown>
    /** Of a route with one of the hooks above; unset anywhere else. */
    user: User
  }
}

/** Those of the issuer that is configured, if one is. */
function issuerKeys(app: FastifyInstance, options: AuthOptions): IssuerKeys | undefined {
  const { url, ...times } = options.jwks
  if (url === '') return undefined
  return new IssuerKeys({ url, ...times }, options, systemClock, (error) =>
    app.log.error({ err: error }, "the keys of the tokens' issuer could not be read"),
  )
}

/** @fastify/jwt in a scope of its own: none of its decorators leaves it, only what it has verified. */
async function ownTokens(app: FastifyInstance, options: AuthOptions): Promise<Verify> {
  let verify: ((token: string) => unknown) | undefined
  await app.register(async (scope) => {
    const verifying = verifyOptions([OWN_ALGORITHM], options)
    await scope.register(fastifyJwt, {
      secret: options.secret,
      decoratorName: 'tokenClaims',
      verify: verifying,
    })
    verify = (token) => scope.jwt.verify(token)
  })
  if (verify === undefined) throw new Error('@fastify/jwt did not start')
  return checked(verify, options)
}

async function authPlugin(app: FastifyInstance, options: AuthOptions): Promise<void> {
  const { secret, clockToleranceMs, issuer, audience, login } = options
  const byteLength = Buffer.byteLength(secret)
  if (byteLength < MIN_SECRET_BYTES) throw secretUnfit(byteLength)
  const schemes = new Schemes((scheme, error) =>
    app.log.error({ err: error, context: { scheme } }, 'an auth scheme of a plugin failed'),
  )
  const keys = issuerKeys(app, options)
  const reader = new TokenReader(await ownTokens(app, options), keys, schemes, clockToleranceMs)
  const revocations = new Revocations(app.state)
  const sessions = new Sessions(app.state, revocations, options)
  const tickets = new Tickets(app.state.volatile)
  const revoker = new Revoker(revocations, sessions, clockToleranceMs)
  const stop = await revocations.follow((error) =>
    app.log.error({ err: error }, 'the revoked tokens could not be read'),
  )
  app.addHook('onClose', async () => stop())

  /** Every refusal of a credential is counted, whatever it was. */
  const counted = async <T>(check: () => T | Promise<T>): Promise<T> => {
    try {
      return await check()
    } catch (error) {
      app.tunnelMetrics.authFailures.inc({ code: asTunnelError(error, 'proxy').code })
      throw error
    }
  }
  const check = (user: User): void => {
    if (user.expiresAtMs <= Date.now()) throw tokenExpired()
    revocations.check(user)
  }
  const auth: Auth = {
    addScheme: (scheme) => schemes.add(scheme),
    get challenges() {
      return schemes.challenges
    },
    verify: (token) =>
      counted(async () => {
        const user = await reader.read(token)
        revocations.check(user)
        return user
      }),
    check,
    loginPlace: login.clientId === '' ? undefined : { issuer, audience, ...login },
    sign: (request) => signToken(secret, { ...request, issuer, audience }),
    bearer(request) {
      try {
        return bearerOf(request.headers.authorization, schemes)
      } catch (error) {
        app.tunnelMetrics.authFailures.inc({ code: asTunnelError(error, 'proxy').code })
        throw error
      }
    },
    makeTicket: (user) => tickets.make(user),
    useTicket: (ticket) =>
      counted(async () => {
        const user = await tickets.use(ticket)
        check(user)
        return user
      }),
    refresh: (refreshToken, requestId) => counted(() => sessions.refresh(refreshToken, requestId)),
    revoke: (user, what) => revoker.revoke(user, what, (token) => reader.read(token)),
    told: revocations,
    onRevoked: (listener) => revocations.onRevoked((isRevoked) => listener(isRevoked, tokenRevoked())),
  }

  const identify = (request: FastifyRequest, user: User): void => {
    // A route for a role may be one of those for users, and asks twice: the log has the name once.
    if ((request.user as User | null)?.sub !== user.sub) request.log = request.log.child({ userId: user.sub })
    request.user = user
  }
  const requireUser: AuthHook = async (request) =>
    identify(request, await app.auth.verify(app.auth.bearer(request)))

  app.decorateRequest('user')
  app.decorate('auth', auth)
  app.decorate('requireUser', requireUser)
  app.decorate('requireUserOrTicket', async (request: FastifyRequest) => {
    const { ticket } = request.query as { ticket?: unknown }
    if (ticket === undefined || request.headers.authorization !== undefined) return app.requireUser(request)
    // One that was given twice is a list, and no ticket.
    identify(request, await app.auth.useTicket(String(ticket)))
  })
  app.decorate(
    'requireRole',
    (role: string): AuthHook =>
      async (request) => {
        await app.requireUser(request)
        const { roles } = request.user
        // One with the role agent is good for an agent alone, whatever else it says.
        if (!roles.includes(role) || roles.includes('agent')) throw roleMissing(role)
      },
  )
}

export default fp(authPlugin, {
  name: 'tunnel-auth',
  fastify: '5.x',
  dependencies: ['tunnel-metrics', 'tunnel-state'],
})
