import { type Static, Type } from 'typebox'

/** The settings' `health` section. */
export const HealthOptions = Type.Object(
  {
    maxLagMs: Type.Integer({
      default: 1_000,
      minimum: 10,
      maximum: 60_000,
      description:
        'An event loop that is later than this, on average over a second, takes no new streams until it is in time again',
    }),
    maxHeapShare: Type.Number({
      default: 0.9,
      minimum: 0.1,
      maximum: 1,
      description: 'The share of the heap that V8 may have, beyond which there are no new streams',
    }),
    maxRssBytes: Type.Optional(
      Type.Integer({
        minimum: 67_108_864,
        description:
          "The process's memory beyond which there are no new streams; by default nine tenths of what its control group may have",
      }),
    ),
    retryAfterMs: Type.Integer({
      default: 5_000,
      minimum: 100,
      maximum: 3_600_000,
      description: 'When whoever was refused may ask again',
    }),
    probeMs: Type.Integer({
      default: 60_000,
      minimum: 0,
      maximum: 86_400_000,
      description: "How often each machine is tried, as far as its SSH server's greeting; 0: never",
    }),
  },
  { additionalProperties: false },
)
export type HealthOptions = Static<typeof HealthOptions>
