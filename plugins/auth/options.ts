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
