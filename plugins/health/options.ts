import { type Static, Type } from 'typebox'

/** The settings' `health` section. */
export const HealthOptions = Type.Object(
  {
    maxLagMs: Type.Integer({
      default: 1_000,
      minimum: 10,
      maximum: 60_000,
      description:
        'While the event loop is later than this, on average over a second, no new streams are opened',
    }),
    maxHeapShare: Type.Number({
      default: 0.9,
      minimum: 0.1,
      maximum: 1,
      description: "The share of V8's heap limit above which no new streams are opened",
    }),
    maxRssBytes: Type.Optional(
      Type.Integer({
        minimum: 67_108_864,
        description:
          "The process's memory above which no new streams are opened; by default nine tenths of its control group's limit",
      }),
    ),
    retryAfterMs: Type.Integer({
      default: 5_000,
      minimum: 100,
      maximum: 3_600_000,
      description: 'How soon a caller who was refused may ask again',
    }),
    probeMs: Type.Integer({
      default: 60_000,
      minimum: 0,
      maximum: 86_400_000,
      description: "How often each machine is tried, up to its SSH server's greeting; 0 = never",
    }),
  },
  { additionalProperties: false },
)
export type HealthOptions = Static<typeof HealthOptions>
