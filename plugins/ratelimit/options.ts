import { type Static, Type } from 'typebox'

const tier = (perMinute: number) =>
  Type.Object(
    {
      perMinute: Type.Integer({
        default: perMinute,
        minimum: 1,
        description: 'Streams and requests a minute, in the long run',
      }),
      burst: Type.Integer({
        default: perMinute,
        minimum: 1,
        description: 'Streams and requests at once after a pause',
      }),
      bytesPerSecond: Type.Integer({
        default: 0,
        minimum: 0,
        description: 'Payload of a user in both directions, at each replica; 0 = unlimited',
      }),
    },
    { additionalProperties: false, default: {} },
  )

const DAY_MS = 86_400_000
const penalty = (ms: number, description: string) =>
  Type.Integer({ default: ms, minimum: 0, maximum: DAY_MS, description })

/** As sshd's PerSourcePenalties: what an address does wrong adds up, and time takes it away again. */
const PenaltyOptions = Type.Object(
  {
    authFailMs: penalty(
      5_000,
      'Penalty of an address for a token, ticket or code that is not ours; 0 = none',
    ),
    noAuthMs: penalty(
      1_000,
      'Penalty for a request that lacks a credential, or whose credential has expired',
    ),
    handshakeMs: penalty(
      2_000,
      'Penalty for a request or TLS handshake that is malformed or never completed',
    ),
    minMs: penalty(15_000, 'An address whose penalties have reached this is refused until they are used up'),
    maxMs: Type.Integer({
      default: 600_000,
      minimum: 1_000,
      maximum: DAY_MS,
      description: 'The largest penalty of an address',
    }),
    maxSources: Type.Integer({
      default: 65_536,
      minimum: 16,
      maximum: 1_048_576,
      description: 'How many addresses are remembered at once; an IPv6 network of 64 bits counts as one',
    }),
    overflow: Type.Union([Type.Literal('permissive'), Type.Literal('deny-all')], {
      default: 'permissive',
      description:
        'What to do when there are more: `permissive` forgets a penalty, `deny-all` refuses everybody who is not exempt until one is over',
    }),
    exempt: Type.Array(Type.String({ minLength: 1 }), {
      default: ['127.0.0.0/8', '::1'],
      description: 'Addresses and networks that get no penalty; by default this computer',
    }),
  },
  { additionalProperties: false, default: {} },
)
export type PenaltyOptions = Static<typeof PenaltyOptions>

export const RateLimitOptions = Type.Object(
  {
    perIpPerMinute: Type.Integer({
      default: 600,
      minimum: 1,
      description:
        'Requests a minute from one address, upgrades included; probes are counted separately, with the same limit',
    }),
    penalties: PenaltyOptions,
    tiers: Type.Object(
      { free: tier(100), premium: tier(1_000), enterprise: tier(10_000) },
      { additionalProperties: false, default: {} },
    ),
  },
  { additionalProperties: false },
)
export type RateLimitOptions = Static<typeof RateLimitOptions>
