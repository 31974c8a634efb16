import { MACHINE_NAME } from '../protocol/codec/heads.ts'
import { UsageError } from './failure.ts'

/** @throws {UsageError} */
export function checkMachine(name: string): void {
  if (MACHINE_NAME.test(name)) return
  throw new UsageError(`"${name}" is no name of a machine: lower-case letters, digits, dots and hyphens`)
}
