import fastifyJwt from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import { bearerOf, checkShape } from './bearer.ts'
import { userOf } from './claims.ts'
import { roleMissing, secretUnfit, tokenExpired, tokenInvalid } from './errors.ts'
import type { AuthOptions } from './options.ts'
import { signToken, type TokenRequest, type User } from './tokens.ts'

export type { Tier, User } from './tokens.ts'

export interface Auth {
  /** Throws TOKEN_INVALID or TOKEN_EXPIRED. */
  verify(token: string): Promise<User>
  /** A token that this proxy verifies. */
  sign(request: Omit<TokenRequest, 'issuer' | 'audience'>): string
  /** The token of the Authorization header; throws TOKEN_MISSING or TOKEN_INVALID. */
  bearer(request: FastifyRequest): string
}

/** A hook for `onRequest` or `preHandler` of a route. */
export type AuthHook = (request: FastifyRequest) => Promise<void>

declare module 'fastify' {
  interface FastifyInstance {
    auth: Auth
    /** Sets `request.user`, or refuses. */
    requireUser: AuthHook
    /** Refuses with FORBIDDEN a user who lacks the role; includes `requireUser`. */
    requireRole(role: string): AuthHook
  }
}

declare module '@fastify/jwt' {
  interface FastifyJWT {
    payload: Record<string, unknown>
    /** Of a route with the hook `requireUser`; unset anywhere else. */
    user: User
  }
}

type Verify = (token: string) => unknown

/** @fastify/jwt in a scope of its own: only verified users leave it, and none of its decorators do. */
async function tokenVerifier(app: FastifyInstance, options: AuthOptions): Promise<Verify> {
  const required = ['sub', 'exp']
  if (options.issuer !== '') required.push('iss')
  if (options.audience !== '') required.push('aud')
  let verify: Verify | undefined
  await app.register(async (scope) => {
    await scope.register(fastifyJwt, {
      secret: options.secret,
      decoratorName: 'tokenClaims',
      verify: {
        algorithms: ['HS256'],
        clockTolerance: options.clockToleranceMs,
        // fast-jwt checks a value only where there is one.
        requiredClaims: required,
        ...(options.issuer === '' ? {} : { allowedIss: options.issuer }),
        ...(options.audience === '' ? {} : { allowedAud: options.audience }),
      },
    })
    verify = (token) => scope.jwt.verify(token)
  })
  if (verify === undefined) throw new Error('@fastify/jwt did not start')
  return verify
}

/** Errors of fast-jwt by their code; its texts can hold claims, so they stay in the cause. */
function refusal(error: unknown): TunnelError {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  if (code === 'FAST_JWT_EXPIRED') return tokenExpired()
  if (code === 'FAST_JWT_INACTIVE') return tokenInvalid('it is not valid yet (nbf)')
  if (code === 'FAST_JWT_MISSING_REQUIRED_CLAIM')
    return tokenInvalid('sub, exp, or a configured iss or aud is missing')
  if (code === 'FAST_JWT_INVALID_CLAIM_VALUE')
    return tokenInvalid('iss or aud is not the one this proxy takes')
  return tokenInvalid('its signature or form is wrong')
}

export default fp<AuthOptions>(
  async (app, options) => {
    const byteLength = Buffer.byteLength(options.secret)
    if (byteLength < MIN_SECRET_BYTES) throw secretUnfit(byteLength)
    const verify = await tokenVerifier(app, options)

    const auth: Auth = {
      async verify(token) {
        try {
          checkShape(token)
          let claims: unknown
          try {
            claims = verify(token)
          } catch (error) {
            throw refusal(error)
          }
          return userOf(claims, options.clockToleranceMs)
        } catch (error) {
          app.tunnelMetrics.authFailures.inc({ code: asTunnelError(error, 'proxy').code })
          throw error
        }
      },
      sign: (request) => {
        const { issuer, audience } = options
        return signToken(options.secret, { ...request, issuer, audience })
      },
      bearer(request) {
        try {
          return bearerOf(request.headers.authorization)
        } catch (error) {
          app.tunnelMetrics.authFailures.inc({ code: asTunnelError(error, 'proxy').code })
          throw error
        }
      },
    }

    app.decorateRequest('user')
    app.decorate('auth', auth)
    app.decorate('requireUser', async (request: FastifyRequest) => {
      request.user = await app.auth.verify(app.auth.bearer(request))
      request.log = request.log.child({ userId: request.user.sub })
    })
    app.decorate(
      'requireRole',
      (role: string): AuthHook =>
        async (request) => {
          await app.requireUser(request)
          if (!request.user.roles.includes(role)) throw roleMissing(role)
        },
    )
  },
  { name: 'tunnel-auth', fastify: '5.x', dependencies: ['tunnel-metrics'] },
)
