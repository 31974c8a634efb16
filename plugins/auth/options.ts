import { type Static, Type } from 'typebox'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import { DEFAULT_NAME } from './tokens.ts'

const DAY_MS = 86_400_000

/** How tokens are verified. The secret comes from the environment or a file, never from a profile. */
export const AuthOptions = Type.Object(
  {
    secret: Type.String({
      default: '',
      secret: true,
      description: `HS256 secret, ${MIN_SECRET_BYTES} bytes or more`,
    }),
    issuer: Type.String({
      default: DEFAULT_NAME,
      description: 'Required value of iss; empty = not checked, only with the profile development',
    }),
    audience: Type.String({
      default: DEFAULT_NAME,
      description: 'Required value of aud; empty = not checked, only with the profile development',
    }),
    clockToleranceMs: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 300_000,
      description: 'Difference of clocks that is tolerated in exp and nbf',
    }),
    jwks: Type.Object(
      {
        url: Type.String({
          default: '',
          description:
            "The address of the issuer's keys (its jwks_uri); empty = only this server signs tokens",
        }),
        maxAgeMs: Type.Integer({
          default: 600_000,
          minimum: 1_000,
          maximum: DAY_MS,
          description: 'The age at which keys are read again; a withdrawn key is accepted for as long',
        }),
        holdMs: Type.Integer({
          default: DAY_MS,
          minimum: 1_000,
          maximum: 30 * DAY_MS,
          description: 'How long keys are used while the issuer does not answer',
        }),
        cooldownMs: Type.Integer({
          default: 30_000,
          minimum: 1_000,
          maximum: 3_600_000,
          description: 'The issuer gets at most one request in this time, whatever tokens arrive',
        }),
      },
      { additionalProperties: false, default: {} },
    ),
    login: Type.Object(
      {
        clientId: Type.String({
          default: '',
          description: 'The public client that `tunnel login` uses at the issuer; empty = no login',
        }),
        scope: Type.String({
          default: 'openid offline_access',
          description: 'The scope that it asks for; offline_access gives a refresh token',
        }),
      },
      { additionalProperties: false, default: {} },
    ),
    accessTtlMs: Type.Integer({
      default: 900_000,
      minimum: 60_000,
      maximum: DAY_MS,
      description: 'Lifetime of a token that was obtained with a refresh token',
    }),
    refreshTtlMs: Type.Integer({
      default: 30 * DAY_MS,
      minimum: 60_000,
      maximum: 365 * DAY_MS,
      description: 'How long a refresh token may stay unused; each use prolongs the session',
    }),
  },
  { additionalProperties: false },
)
export type AuthOptions = Static<typeof AuthOptions>
