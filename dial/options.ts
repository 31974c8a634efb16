import { type Static, Type } from 'typebox'

const strict = { additionalProperties: false }

/** When to dial again after a lost link. The first redial is immediate; these are the waits before the later ones. */
export const BackoffOptions = Type.Object(
  {
    baseMs: Type.Integer({
      description: 'The first redial is immediate; the wait before the second',
      default: 2_000,
      minimum: 1,
      maximum: 3_600_000,
    }),
    multiplier: Type.Number({
      description: 'Each further wait is this many times the previous one',
      default: 2,
      minimum: 1,
      maximum: 10,
    }),
    jitter: Type.Number({
      description: 'Waits vary at random by this share in both directions',
      default: 0.3,
      minimum: 0,
      maximum: 1,
    }),
    maxMs: Type.Integer({
      description:
        'No wait is longer, jitter aside; while streams wait for the link, none is longer than 8 s',
      default: 60_000,
      minimum: 1,
      maximum: 86_400_000,
    }),
    maxAttempts: Type.Integer({
      description:
        'After so many failed dials in a row a client gives up; while streams wait, it dials on until their window (`streams.resumeMs`) is over',
      default: 10,
      minimum: 1,
      maximum: 1_000_000,
    }),
  },
  strict,
)
export type BackoffOptions = Static<typeof BackoffOptions>
