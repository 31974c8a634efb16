import { randomUUID } from 'node:crypto'

export const CORRELATION_HEADER = 'x-correlation-id'

/**
 * 8 to 128 letters, digits, `.`, `_` and `-`: every UUID, ULID, trace id and the ids of the usual gateways; nothing that
 * could break a header, a log line or a page it is shown on.
 */
const WELL_FORMED = /^[A-Za-z0-9._-]{8,128}$/

/** The request's own id when it is well formed, else a new one. */
export function correlationIdOf(given: string | string[] | undefined): string {
  return typeof given === 'string' && WELL_FORMED.test(given) ? given : randomUUID()
}
