import { type Static, Type } from 'typebox'

/** How a replica leaves the others. */
export const DrainOptions = Type.Object(
  {
    spreadMs: Type.Integer({
      default: 2_000,
      minimum: 0,
      maximum: 600_000,
      description:
        'Over how long a replica that stops spreads what it asks of its agents and then of its clients, to go to another; a quarter of its drain at most',
    }),
    turnMs: Type.Integer({
      default: 10_000,
      minimum: 0,
      maximum: 600_000,
      description:
        'How long a replica that is to stop goes on as ever while another one drains; half of its own drain at most',
    }),
  },
  { additionalProperties: false },
)
export type DrainOptions = Static<typeof DrainOptions>
