import { type Static, Type } from 'typebox'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'

/** How tokens are verified. The secret comes from the environment or a file, never from a profile. */
export const AuthOptions = Type.Object(
  {
    secret: Type.String({
      default: '',
      secret: true,
      description: `HS256 secret, ${MIN_SECRET_BYTES} bytes or more`,
    }),
    issuer: Type.String({ default: '', description: 'Required value of iss; empty = not checked' }),
    audience: Type.String({ default: '', description: 'Required value of aud; empty = not checked' }),
    clockToleranceMs: Type.Integer({
      default: 5_000,
      minimum: 0,
      maximum: 300_000,
      description: 'Difference of clocks that exp and nbf forgive',
    }),
  },
  { additionalProperties: false },
)
export type AuthOptions = Static<typeof AuthOptions>
