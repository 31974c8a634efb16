import { type Static, Type } from 'typebox'

/** What `GET machines/:machine/origin/:port` answers. */
export const ServiceOrigin = Type.Object({
  origin: Type.String({ description: "the service's own, for a browser that has a ticket or the cookie" }),
})
export type ServiceOrigin = Static<typeof ServiceOrigin>
