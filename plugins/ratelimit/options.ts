import { type Static, Type } from 'typebox'

const tier = (perMinute: number) =>
  Type.Object(
    {
      perMinute: Type.Integer({
        default: perMinute,
        minimum: 1,
        description: 'Streams a minute, in the long run',
      }),
      burst: Type.Integer({ default: perMinute, minimum: 1, description: 'Streams at once after a rest' }),
    },
    { additionalProperties: false, default: {} },
  )

export const RateLimitOptions = Type.Object(
  {
    perIpPerMinute: Type.Integer({
      default: 600,
      minimum: 1,
      description:
        'Requests a minute and address, upgrades included; probes are counted apart, with the same limit',
    }),
    tiers: Type.Object(
      { free: tier(100), premium: tier(1_000), enterprise: tier(10_000) },
      { additionalProperties: false, default: {} },
    ),
  },
  { additionalProperties: false },
)
export type RateLimitOptions = Static<typeof RateLimitOptions>
