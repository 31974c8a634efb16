import { isMachineName, MACHINE_NAME_RULE } from '../protocol/codec/heads.ts'
import { UsageError } from './failure.ts'

/** @throws {UsageError} */
export function checkMachine(name: string): void {
  if (isMachineName(name)) return
  throw new UsageError(`"${name}" is not a valid machine name: ${MACHINE_NAME_RULE}`)
}
