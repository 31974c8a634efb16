import { type Static, Type } from 'typebox'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'

const file = (description: string) => Type.String({ minLength: 1, description })

/** Which replicas there are, and how they reach and know each other. */
export const ClusterOptions = Type.Object(
  {
    enabled: Type.Boolean({
      default: false,
      description: 'Whether this proxy is one of several that keep links to each other',
    }),
    id: Type.String({
      default: '',
      pattern: '^\\S{0,128}$',
      description: 'Distinguishes this replica from all others; empty = a new one at each start',
    }),
    url: Type.String({
      default: '',
      description:
        '`http(s)://host:port` by which the other replicas reach this one; empty = they find it by `cluster.peers`',
    }),
    port: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 65_535,
        description:
          'A separate port for links between replicas, on `server.host`; without it they use `server.port`',
      }),
    ),
    secret: Type.String({
      default: '',
      secret: true,
      description: `The secret by which replicas recognise each other; ${MIN_SECRET_BYTES} bytes or more, the same on all`,
    }),
    peers: Type.Array(Type.String({ minLength: 1 }), {
      default: [],
      maxItems: 64,
      description:
        '`http(s)://host:port` of the others; this one may be among them, and a name may stand for several addresses',
    }),
    tls: Type.Optional(
      Type.Object(
        {
          cert: file('PEM file of the certificate that this replica shows the others'),
          key: file('PEM file of its private key'),
          ca: file("PEM file of the authorities that must have signed the other replicas' certificates"),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type ClusterOptions = Static<typeof ClusterOptions>
