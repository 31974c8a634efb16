import { type Static, Type } from 'typebox'

export const PoolOptions = Type.Object(
  {
    maxPerUser: Type.Integer({
      default: 3,
      minimum: 1,
      description: 'SSH connections of a user, to all machines together',
    }),
    channelsPerConnection: Type.Integer({
      default: 10,
      minimum: 1,
      maximum: 1_000,
      description:
        "Channels at once on a connection; fewer if the machine's sshd allows fewer (MaxSessions). 32 forwarded TCP connections count as one",
    }),
    idleMs: Type.Integer({
      default: 300_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'How long a connection without channels is kept',
    }),
    maxAgeMs: Type.Integer({
      default: 3_600_000,
      minimum: 0,
      maximum: 86_400_000,
      description:
        'The age at which a connection is replaced: if it is in use, a new one is made, and it closes with its last channel; 0 = never',
    }),
    keepAliveMs: Type.Integer({
      default: 60_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'Time between keep-alives on a quiet connection',
    }),
    waitMs: Type.Integer({
      default: 10_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'How long a request waits for a place',
    }),
    warm: Type.Integer({
      default: 0,
      minimum: 0,
      maximum: 100,
      description:
        "Connections that are made in advance when a user's client connects, one to each of the user's machines that are on line and where policy lets the user run commands; 0 = none",
    }),
    maxWaiting: Type.Integer({ default: 4_000, minimum: 1, description: 'Requests of a user that may wait' }),
  },
  { additionalProperties: false },
)
export type PoolOptions = Static<typeof PoolOptions>
