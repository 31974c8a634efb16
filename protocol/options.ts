import { type Static, Type } from 'typebox'

const strict = { additionalProperties: false }

/** When a link is taken for dead. Judged by what is received, of whatever kind. */
export const HeartbeatOptions = Type.Object(
  {
    /** A PING goes out when nothing was received for this long, in ms. */
    intervalMs: Type.Integer({ default: 30_000, minimum: 100, maximum: 3_600_000 }),
    /** A link on which nothing was received for this long is dead, in ms. */
    timeoutMs: Type.Integer({ default: 45_000, minimum: 200, maximum: 7_200_000 }),
  },
  strict,
)
export type HeartbeatOptions = Static<typeof HeartbeatOptions>

export const StreamsOptions = Type.Object(
  {
    /** What a stream may have in flight in each direction at first, in bytes. */
    windowBytes: Type.Integer({ default: 262_144, minimum: 65_536, maximum: 67_108_864 }),
    /** How far that may grow while the consumer keeps up, in bytes. */
    maxWindowBytes: Type.Integer({ default: 8_388_608, minimum: 65_536, maximum: 268_435_456 }),
    /** How long a stream outlives its link, in ms. The stricter of both ends holds. */
    resumeMs: Type.Integer({ default: 120_000, minimum: 0, maximum: 86_400_000 }),
    /** Streams one peer may have open on one link. */
    maxPerLink: Type.Integer({ default: 256, minimum: 1, maximum: 65_536 }),
    /** What one user's streams that end in this process may hold together, in bytes. */
    userBudgetBytes: Type.Integer({ default: 67_108_864, minimum: 1_048_576 }),
  },
  strict,
)
export type StreamsOptions = Static<typeof StreamsOptions>

/** permessage-deflate (RFC 7692): never for sealed streams, whose bytes are ciphertext. */
export const CompressionOptions = Type.Object(
  {
    enabled: Type.Boolean({ default: false }),
    /** Messages below this go uncompressed, in bytes. */
    thresholdBytes: Type.Integer({ default: 1_024, minimum: 0, maximum: 1_048_576 }),
  },
  strict,
)
export type CompressionOptions = Static<typeof CompressionOptions>

export const LimitsOptions = Type.Object(
  {
    /** The largest frame that is received, in bytes; a larger one closes the link (1009). */
    maxFrameBytes: Type.Integer({ default: 1_048_576, minimum: 131_072, maximum: 16_777_216 }),
    /** Client links one user may hold at once. */
    linksPerUser: Type.Integer({ default: 128, minimum: 1, maximum: 10_000 }),
    /** Agents' links one user may hold at once. */
    agentLinksPerUser: Type.Integer({ default: 128, minimum: 1, maximum: 100_000 }),
  },
  strict,
)
export type LimitsOptions = Static<typeof LimitsOptions>
