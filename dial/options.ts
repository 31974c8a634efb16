import { type Static, Type } from 'typebox'

const strict = { additionalProperties: false }

/** When to dial again after a lost link. The first redial is immediate; these are the waits before the later ones. */
export const BackoffOptions = Type.Object(
  {
    /** The wait before the second redial, in ms. */
    baseMs: Type.Integer({ default: 2_000, minimum: 1, maximum: 3_600_000 }),
    /** Each further wait is this many times the one before. */
    multiplier: Type.Number({ default: 2, minimum: 1, maximum: 10 }),
    /** A wait is spread at random by this share of itself to either side, so that many clients do not dial at once. */
    jitter: Type.Number({ default: 0.3, minimum: 0, maximum: 1 }),
    /** No wait is longer, in ms, jitter aside; it is shorter while streams wait for the link. */
    maxMs: Type.Integer({ default: 60_000, minimum: 1, maximum: 86_400_000 }),
    /** After so many failed dials in a row the client gives up, but not while streams wait within their resume window. */
    maxAttempts: Type.Integer({ default: 10, minimum: 1, maximum: 1_000_000 }),
  },
  strict,
)
export type BackoffOptions = Static<typeof BackoffOptions>
