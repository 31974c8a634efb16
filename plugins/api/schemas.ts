import { Type } from 'typebox'
import { Machine } from '../../dial/machine.ts'

const params = Type.Object({ machine: Type.String({ description: 'its name' }) })

export const listMachines = {
  summary: "The caller's machines",
  response: { 200: Type.Array(Machine) },
}
export const getMachine = {
  summary: "One of the caller's machines",
  params,
  response: { 200: Machine },
}
export const forgetMachine = {
  summary: 'Forgets a machine and its pinned host keys',
  params,
  response: { 204: Type.Null() },
}
export const trustMachine = {
  summary: 'Pins the host keys that a machine shows now in place of those it had',
  params,
  response: { 200: Machine },
}
export const sshKey = {
  summary: "The public half of the caller's SSH key",
  response: {
    200: Type.Object({ publicKey: Type.String({ description: 'a line for authorized_keys' }) }),
  },
}
