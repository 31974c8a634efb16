import { isSubject } from '../plugins/auth/subject.ts'
import { isMachineName, MACHINE_NAME_RULE, readMachine } from '../protocol/codec/heads.ts'
import { UsageError } from './failure.ts'

/** @throws {UsageError} */
export function checkMachine(name: string): void {
  if (isMachineName(name)) return
  throw new UsageError(`"${name}" is not a valid machine name: ${MACHINE_NAME_RULE}`)
}

/** The same, or `owner/name` for a machine that somebody shares. @throws {UsageError} */
export function checkMachineOf(machine: string): void {
  const { owner, name } = readMachine(machine)
  if (owner === undefined) return checkMachine(machine)
  if (!isSubject(owner)) throw new UsageError(`"${owner}" in "${machine}" is not the id of a user`)
  checkMachine(name)
}

/** The name of an account on a machine. @throws {UsageError} */
export function checkAccount(name: string): string {
  if (/^[^\s\p{C}]{1,128}$/u.test(name)) return name
  throw new UsageError(`"${name}" is not the name of an account`)
}
