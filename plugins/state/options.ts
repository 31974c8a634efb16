import { type Static, Type } from 'typebox'

export const StateOptions = Type.Object(
  {
    store: Type.Union([Type.Literal('embedded'), Type.Literal('redis')], {
      default: 'embedded',
      description:
        '`embedded`: memory for what may be lost with the process, LevelDB under `dir` for the rest; `redis`: shared by replicas',
    }),
    redisUrl: Type.String({
      default: '',
      secret: true,
      description: '`redis://` or `rediss://` (TLS), with user, password and database, for the store `redis`',
    }),
    sentinels: Type.Array(Type.String({ pattern: '^[^\\s:/@]+:\\d{1,5}$|^\\[[\\da-fA-F:]+\\]:\\d{1,5}$' }), {
      default: [],
      description:
        '`host:port` of Redis Sentinels, which say where the master is; the host and port of `redisUrl` are then ignored',
    }),
    sentinelMaster: Type.String({
      default: 'mymaster',
      minLength: 1,
      description: 'the name by which the Sentinels know the master',
    }),
    staleMs: Type.Integer({
      default: 300_000,
      minimum: 1_000,
      maximum: 3_600_000,
      description:
        'How long the last known revocations are relied on while Redis is away; after that no token is accepted',
    }),
    // Its default depends on the environment, so config/ gives it.
    dir: Type.String({ minLength: 1, description: 'the state folder; TUNNEL_STATE_DIR is its short name' }),
  },
  { additionalProperties: false },
)

/** Where the proxy keeps what outlives a request. */
export type StateOptions = Static<typeof StateOptions>
