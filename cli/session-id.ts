import { TunnelError } from '../protocol/codec/errors.ts'
import { UsageError } from './failure.ts'

const ID = /^[0-9a-f]{32}$/
/** A UUID: what the proxy calls a link. */
const LINK_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** What somebody has typed as the id of a stream. @throws {UsageError} */
export function sessionId(typed = ''): string {
  if (!ID.test(typed)) throw new UsageError('an id has 32 hex digits, as `tunnel sessions` shows it')
  return typed
}

/** The route of what somebody has typed as the id of a stream or of a link. @throws {UsageError} */
export function routeOfId(typed = ''): string {
  if (LINK_ID.test(typed)) return `links/${typed}`
  if (ID.test(typed)) return `sessions/${typed}`
  throw new UsageError(
    'an id has 32 hex digits, as `tunnel sessions` shows it, or is that of a link, as `tunnel sessions --links` does',
  )
}

/** `error` of a question about one stream; where the proxy has no such stream, with what helps in that case. */
export function aboutSession(error: unknown): unknown {
  const { code, fromPeer, message, hop } = error as TunnelError
  if (code !== 'UNKNOWN_STREAM' || !fromPeer) return error
  return new TunnelError(code, message, { cause: error, hop, suggestion: '`tunnel sessions` lists yours' })
}
