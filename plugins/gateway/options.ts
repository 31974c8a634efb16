import { type Static, Type } from 'typebox'

/** The settings' `gateway` section. */
export const GatewayOptions = Type.Object(
  {
    host: Type.String({
      default: '',
      pattern: '^$|^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$',
      maxLength: 190,
      description:
        'The domain under which each service of a machine has its own host name, for browsers, such as `tunnel.example.com`; empty = none',
    }),
    sessionMs: Type.Integer({
      default: 43_200_000,
      minimum: 60_000,
      maximum: 2_592_000_000,
      description: 'How long a browser may use such a host after its ticket, unless the token expires first',
    }),
  },
  { additionalProperties: false },
)
export type GatewayOptions = Static<typeof GatewayOptions>
