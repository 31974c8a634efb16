import { type Static, Type } from 'typebox'

const DAY_MS = 86_400_000

/** Codes by which a machine gets its agent's token. */
export const EnrolmentOptions = Type.Object(
  {
    codeMs: Type.Integer({
      default: 600_000,
      minimum: 10_000,
      maximum: DAY_MS,
      description: 'How long a code of `tunnel machines --enroll` is valid',
    }),
    maxCodesPerUser: Type.Integer({
      default: 10,
      minimum: 1,
      maximum: 1_000,
      description: 'How many unused codes a user may have',
    }),
    tokenMs: Type.Integer({
      default: 365 * DAY_MS,
      minimum: 60_000,
      maximum: 36_525 * DAY_MS,
      description: 'Lifetime of the token that a machine gets for a code',
    }),
  },
  { additionalProperties: false },
)
export type EnrolmentOptions = Static<typeof EnrolmentOptions>
