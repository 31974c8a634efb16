import { type Static, Type } from 'typebox'

/** How a replica leaves the others. */
export const DrainOptions = Type.Object(
  {
    spreadMs: Type.Integer({
      default: 2_000,
      minimum: 0,
      maximum: 600_000,
      description:
        'Time over which a stopping replica spreads its requests to its agents, and then to its clients, to move to another; a quarter of its drain at most',
    }),
    turnMs: Type.Integer({
      default: 10_000,
      minimum: 0,
      maximum: 600_000,
      description:
        'How long a replica that was told to stop waits for another one that drains; half of its own drain at most',
    }),
  },
  { additionalProperties: false },
)
export type DrainOptions = Static<typeof DrainOptions>
