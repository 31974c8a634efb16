import { type Static, Type } from 'typebox'

/** Where a proxy's users log in, and for what. */
export const LoginPlace = Type.Object({
  issuer: Type.String(),
  clientId: Type.String(),
  scope: Type.String(),
  audience: Type.String({ description: 'what the token is to be for' }),
})
export type LoginPlace = Static<typeof LoginPlace>
