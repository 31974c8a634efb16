import { type Static, Type } from 'typebox'
import { STREAM_KINDS } from '../../protocol/codec/heads.ts'
import { KindName, ModeName } from '../../protocol/options.ts'

const MODES: Static<typeof ModeName>[] = ['sealed', 'inspected']

interface Counts {
  links: number
  agentLinks: number
  machines: number
  streams: number
}

const count = (description: string, value: number, maximum: number) =>
  Type.Integer({ description, default: value, minimum: 1, maximum })

const tier = ({ links, agentLinks, machines, streams }: Counts) =>
  Type.Object(
    {
      modes: Type.Array(ModeName, {
        description: 'Modes that its users may use; others are refused with TIER_REQUIRED',
        default: [...MODES],
        maxItems: MODES.length,
      }),
      kinds: Type.Array(KindName, {
        description: 'Kinds of streams that its users may open; others are refused with TIER_REQUIRED',
        default: [...STREAM_KINDS],
        maxItems: STREAM_KINDS.length,
      }),
      links: count('Client links that a user may hold at once: each `ssh` takes one', links, 10_000),
      agentLinks: count("Agents' links that a user may hold at once", agentLinks, 100_000),
      machines: count('Machines that a user may have, on line or not', machines, 100_000),
      streams: count(
        'Streams that a user may have at once, including those that wait for their link',
        streams,
        65_536,
      ),
      budgetBytes: Type.Integer({
        description:
          'What all streams of a user may hold together at the proxy; each inspected one is granted `streams.windowBytes` of it, so the default is enough for 256 at once',
        default: 67_108_864,
        minimum: 1_048_576,
      }),
    },
    { additionalProperties: false, default: {} },
  )

/** What the users of each tier may have. How fast they may ask for it is `rateLimit.tiers`. */
export const TiersOptions = Type.Object(
  {
    free: tier({ links: 128, agentLinks: 128, machines: 100, streams: 1_024 }),
    premium: tier({ links: 512, agentLinks: 512, machines: 1_000, streams: 4_096 }),
    enterprise: tier({ links: 2_048, agentLinks: 4_096, machines: 10_000, streams: 16_384 }),
  },
  { additionalProperties: false },
)
export type TiersOptions = Static<typeof TiersOptions>
export type TierLimits = TiersOptions['free']
