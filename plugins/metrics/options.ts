import { type Static, Type } from 'typebox'

export const MetricsOptions = Type.Object(
  {
    access: Type.Union([Type.Literal('loopback'), Type.Literal('any')], {
      default: 'loopback',
      description: 'who may read the metrics without a token: this machine alone, or anyone',
    }),
    token: Type.Optional(
      Type.String({
        minLength: 16,
        secret: true,
        description: 'a bearer token that opens the metrics to a reader on another machine',
      }),
    ),
  },
  { additionalProperties: false },
)

/** Who may read `GET /api/tunnel/metrics`. */
export type MetricsOptions = Static<typeof MetricsOptions>
