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
      description: 'Required value of iss; empty = not checked, with the profile development alone',
    }),
    audience: Type.String({
      default: DEFAULT_NAME,
      description: 'Required value of aud; empty = not checked, with the profile development alone',
    }),
    clockToleranceMs: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 300_000,
      description: 'Difference of clocks that exp and nbf forgive',
    }),
    jwks: Type.Object(
      {
        url: Type.String({
          default: '',
          description: "Where the issuer's keys are (its jwks_uri); empty = only this server signs tokens",
        }),
        maxAgeMs: Type.Integer({
          default: 600_000,
          minimum: 1_000,
          maximum: DAY_MS,
          description: 'Keys are read anew when they are this old; one that was withdrawn holds as long',
        }),
        holdMs: Type.Integer({
          default: DAY_MS,
          minimum: 1_000,
          maximum: 30 * DAY_MS,
          description: 'How long keys hold while the issuer does not answer',
        }),
        cooldownMs: Type.Integer({
          default: 30_000,
          minimum: 1_000,
          maximum: 3_600_000,
          description: 'At most one request to the issuer in this time, whatever tokens come',
        }),
      },
      { additionalProperties: false, default: {} },
    ),
    login: Type.Object(
      {
        clientId: Type.String({
          default: '',
          description: 'The public client by which `tunnel login` asks the issuer; empty = nobody logs in',
        }),
        scope: Type.String({
          default: 'openid offline_access',
          description: 'What it asks for; offline_access gives a refresh token',
        }),
      },
      { additionalProperties: false, default: {} },
    ),
    accessTtlMs: Type.Integer({
      default: 900_000,
      minimum: 60_000,
      maximum: DAY_MS,
      description: 'How long a token lives that came by a refresh token',
    }),
    refreshTtlMs: Type.Integer({
      default: 30 * DAY_MS,
      minimum: 60_000,
      maximum: 365 * DAY_MS,
      description: 'How long a refresh token may lie unused; a session that is refreshed goes on',
    }),
  },
  { additionalProperties: false },
)
export type AuthOptions = Static<typeof AuthOptions>
