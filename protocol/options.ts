import { type Static, Type } from 'typebox'

const strict = { additionalProperties: false }

const literal = Type.Literal
export const ModeName = Type.Union([literal('sealed'), literal('inspected')])
/** As `STREAM_KINDS`. */
export const KindName = Type.Union([
  literal('ssh'),
  literal('tcp'),
  literal('http'),
  literal('exec'),
  literal('shell'),
  literal('sftp'),
])

/** When a link is taken for dead. Judged by what is received, of whatever kind. */
export const HeartbeatOptions = Type.Object(
  {
    intervalMs: Type.Integer({
      description:
        'A PING is sent when nothing was received for this long. The stricter value of the two ends applies',
      default: 30_000,
      minimum: 100,
      maximum: 3_600_000,
    }),
    timeoutMs: Type.Integer({
      description: 'A link on which nothing was received for this long is dead; more than `intervalMs`',
      default: 45_000,
      minimum: 200,
      maximum: 7_200_000,
    }),
  },
  strict,
)
export type HeartbeatOptions = Static<typeof HeartbeatOptions>

export const StreamsOptions = Type.Object(
  {
    windowBytes: Type.Integer({
      description: 'What a stream may have in flight in each direction at the start',
      default: 262_144,
      minimum: 65_536,
      maximum: 67_108_864,
    }),
    maxWindowBytes: Type.Integer({
      description: 'What that may grow to while the consumer keeps up',
      default: 8_388_608,
      minimum: 65_536,
      maximum: 268_435_456,
    }),
    resumeMs: Type.Integer({
      description: 'How long a stream outlives its link. The stricter value of the two ends applies',
      default: 120_000,
      minimum: 0,
      maximum: 86_400_000,
    }),
    maxPerLink: Type.Integer({
      description: 'Streams that a peer may have open on one link',
      default: 256,
      minimum: 1,
      maximum: 65_536,
    }),
    userBudgetBytes: Type.Integer({
      description: 'What all streams of one user may hold together in a client or an agent',
      default: 67_108_864,
      minimum: 1_048_576,
    }),
  },
  strict,
)
export type StreamsOptions = Static<typeof StreamsOptions>

/** permessage-deflate (RFC 7692): never for sealed streams, whose bytes are ciphertext. */
export const CompressionOptions = Type.Object(
  {
    enabled: Type.Boolean({ description: 'permessage-deflate; never for sealed streams', default: false }),
    thresholdBytes: Type.Integer({
      description: 'Smaller messages go uncompressed',
      default: 1_024,
      minimum: 0,
      maximum: 1_048_576,
    }),
  },
  strict,
)
export type CompressionOptions = Static<typeof CompressionOptions>

export const LimitsOptions = Type.Object(
  {
    maxFrameBytes: Type.Integer({
      description: 'A larger frame closes the link (1009)',
      default: 1_048_576,
      minimum: 131_072,
      maximum: 16_777_216,
    }),
  },
  strict,
)
export type LimitsOptions = Static<typeof LimitsOptions>

/** How a proxy is reached: the carrier of links, and the HTTP proxy on the way. */
export const NetworkOptions = Type.Object(
  {
    transport: Type.Union([Type.Literal('auto'), Type.Literal('websocket'), Type.Literal('http')], {
      description:
        'What carries a link: `auto` is WebSocket, or HTTP streaming where no WebSocket gets through',
      default: 'auto',
    }),
    proxy: Type.String({
      description:
        'The HTTP proxy to go through: its URL, `none`, or `environment` for HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY',
      default: 'environment',
      minLength: 1,
    }),
  },
  strict,
)
export type NetworkOptions = Static<typeof NetworkOptions>

/** Whom a client, or an agent, trusts as its proxy, and how it shows who it is. */
export const TlsOptions = Type.Object(
  {
    ca: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          "PEM file of the authorities that may have signed the proxy's certificate, in place of the public ones",
      }),
    ),
    cert: Type.Optional(Type.String({ minLength: 1, description: 'PEM file of a client certificate' })),
    key: Type.Optional(Type.String({ minLength: 1, description: 'PEM file of its private key' })),
    pin: Type.Optional(
      Type.String({
        pattern: '^sha256//[A-Za-z0-9+/]{43}=(;sha256//[A-Za-z0-9+/]{43}=)*$',
        description:
          "The public key that the proxy must have in addition: `sha256//` and the base64 of its SPKI's SHA-256, several with `;` between them",
      }),
    ),
    minVersion: Type.Union([Type.Literal('TLSv1.2'), Type.Literal('TLSv1.3')], {
      description: 'The oldest version of TLS to accept',
      default: 'TLSv1.3',
    }),
  },
  strict,
)
export type TlsOptions = Static<typeof TlsOptions>

/** Both, for whatever dials. */
export interface Reach {
  network: NetworkOptions
  tls: TlsOptions
}
