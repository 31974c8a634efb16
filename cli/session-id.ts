import { UsageError } from './failure.ts'

const ID = /^[0-9a-f]{32}$/

/** What somebody has typed as the id of a stream. @throws {UsageError} */
export function sessionId(typed = ''): string {
  if (!ID.test(typed)) throw new UsageError('an id has 32 hex digits, as `tunnel sessions` shows it')
  return typed
}
