import { type Static, Type } from 'typebox'

/** What a user gets who wants to enrol a machine. */
export const EnrolmentCode = Type.Object({
  code: Type.String(),
  machine: Type.String(),
  expiresAt: Type.String(),
})
export type EnrolmentCode = Static<typeof EnrolmentCode>

/** What the machine gets for the code. */
export const EnrolledMachine = Type.Object({
  token: Type.String(),
  user: Type.String({ description: 'who made the code' }),
  machine: Type.String({ description: 'the only name under which the token enrols' }),
  expiresAt: Type.String({ description: 'when the token expires' }),
})
export type EnrolledMachine = Static<typeof EnrolledMachine>
