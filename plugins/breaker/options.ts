import { type Static, Type } from 'typebox'

export const BreakerOptions = Type.Object(
  {
    failures: Type.Integer({ default: 5, minimum: 1, description: 'Failures in a row that open a circuit' }),
    openMs: Type.Integer({
      default: 60_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'How long an open circuit refuses',
    }),
    halfOpenRequests: Type.Integer({
      default: 1,
      minimum: 1,
      description:
        'Requests admitted while half open: the first is the probe, and the others wait for its outcome',
    }),
    maxCircuits: Type.Integer({
      default: 10_000,
      minimum: 1,
      description: 'How many circuits are remembered; the oldest idle one is dropped',
    }),
  },
  { additionalProperties: false },
)
export type BreakerOptions = Static<typeof BreakerOptions>
