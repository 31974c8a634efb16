import { type Static, Type } from 'typebox'

export const ServerOptions = Type.Object(
  {
    host: Type.String({ minLength: 1, default: '127.0.0.1', description: 'the address to listen on' }),
    port: Type.Integer({
      minimum: 0,
      maximum: 65_535,
      default: 3001,
      description: '0 lets the system choose',
    }),
    trustProxy: Type.Union([Type.Literal(false), Type.Array(Type.String({ minLength: 1 }))], {
      default: false,
      description:
        "whose x-forwarded-* headers are believed: nobody's, or those of these addresses and networks",
    }),
    origins: Type.Array(Type.String({ minLength: 1 }), {
      default: [],
      description: "origins whose pages may open links, and ask for tickets, besides the proxy's own",
    }),
    maxSockets: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: 'connections at once; by default 7/8 of the descriptors that the process may have open',
      }),
    ),
    socketsPerIp: Type.Optional(
      Type.Integer({
        minimum: 1,
        description:
          'connections at once from one address that have not become a link; by default a quarter of all',
      }),
    ),
    docs: Type.Boolean({
      default: true,
      description: 'whether GET docs shows the routes, as OpenAPI and as a page',
    }),
    tls: Type.Optional(
      Type.Object(
        {
          cert: Type.String({ minLength: 1, description: 'PEM file of the certificate and its chain' }),
          key: Type.String({ minLength: 1, description: 'PEM file of the private key' }),
          minVersion: Type.Union([Type.Literal('TLSv1.2'), Type.Literal('TLSv1.3')], {
            description: 'The oldest version of TLS to accept',
            default: 'TLSv1.3',
          }),
          agentCa: Type.Optional(
            Type.String({
              minLength: 1,
              description:
                'PEM file of authorities: agents must show a certificate that one of them has signed',
            }),
          ),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)

/** Where the proxy listens. Without `tls` something in front of it has to end TLS, or it stays on this machine. */
export type ServerOptions = Static<typeof ServerOptions>
