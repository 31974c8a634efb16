import { type Static, Type } from 'typebox'

export const PoolOptions = Type.Object(
  {
    maxPerUser: Type.Integer({
      default: 3,
      minimum: 1,
      description: 'SSH connections of a user, over all machines',
    }),
    channelsPerConnection: Type.Integer({
      default: 10,
      minimum: 1,
      maximum: 1_000,
      description:
        "Channels at once on a connection, fewer where the machine's sshd takes fewer (its MaxSessions); 32 forwarded TCP connections count as one",
    }),
    idleMs: Type.Integer({
      default: 300_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'A connection without channels lives this long',
    }),
    maxAgeMs: Type.Integer({
      default: 3_600_000,
      minimum: 0,
      maximum: 86_400_000,
      description:
        'A connection this old is replaced: another is made where it is in use, and it closes when its last channel has; 0 = never',
    }),
    keepAliveMs: Type.Integer({
      default: 60_000,
      minimum: 1,
      maximum: 86_400_000,
      description: 'Between keep-alives on a quiet connection',
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
        "Connections that are made ahead when a user's client connects, one to each of the user's machines that are on line and where policy lets them run commands; 0 = none",
    }),
    maxWaiting: Type.Integer({ default: 4_000, minimum: 1, description: 'Requests of a user that may wait' }),
  },
  { additionalProperties: false },
)
export type PoolOptions = Static<typeof PoolOptions>
