import { type Static, Type } from 'typebox'

export const MetricsOptions = Type.Object(
  {
    access: Type.Union([Type.Literal('loopback'), Type.Literal('any')], {
      default: 'loopback',
      description: 'who may read the metrics without a token: only this machine, or anyone',
    }),
    token: Type.Optional(
      Type.String({
        minLength: 16,
        secret: true,
        description: 'a bearer token with which other machines may read the metrics',
      }),
    ),
  },
  { additionalProperties: false },
)

/** Who may read `GET /api/tunnel/metrics`. */
export type MetricsOptions = Static<typeof MetricsOptions>
