import { Type } from 'typebox'
import { EnrolledMachine, EnrolmentCode } from '../../dial/enrolment.ts'

export const makeCode = {
  summary: 'A code with which the machine of this name gets a token for its agent, once and within minutes',
  params: Type.Object({ machine: Type.String({ description: 'its name' }) }),
  response: { 201: EnrolmentCode },
}

export const useCode = {
  summary: 'Exchanges a code for a token with the role agent, for one machine of the user who made the code',
  body: Type.Object({
    code: Type.String({ maxLength: 64, description: 'groups of letters and digits, as they were shown' }),
  }),
  response: { 200: EnrolledMachine },
}
