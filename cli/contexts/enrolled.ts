import { UsageError } from '../failure.ts'
import { clientFilePath, readClientFile } from './client-file.ts'

/** The one machine that this account has enrolled with a code. @throws {UsageError} where it is none, or not one */
export function enrolledMachine(): string {
  const [name, ...more] = readClientFile(clientFilePath()).agents.keys()
  if (name !== undefined && more.length === 0) return name
  throw new UsageError(`name this machine: --machine ${[name ?? 'NAME', ...more].join(', or ')}`)
}
