import type { IncomingMessage } from 'node:http'
import type { HeaderList } from '../../protocol/codec/heads.ts'
import { pairs } from './request-headers.ts'

/** What the answer to TRACE does not repeat (RFC 9110, section 9.3.8). */
const CREDENTIALS = /^((proxy-|x-target-)?authorization|cookie)$/i

/** Who asks how far a request comes: this gateway is as far as it may go (RFC 9110, section 7.6.2). */
export function isAsFarAsItMay(request: IncomingMessage): boolean {
  return forwardsLeft(request) === 0
}

/** The answer of whoever is as far as a request may go: to TRACE the request as it came. */
export function answerOfLast(
  { method, httpVersion, rawHeaders }: IncomingMessage,
  url: string,
): { status: number; type?: string; body: string } {
  if (method !== 'TRACE') return { status: 204, body: '' }
  const fields = pairs(rawHeaders).filter(([name]) => !CREDENTIALS.test(name))
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`)
  return {
    status: 200,
    type: 'message/http',
    body: `TRACE ${url} HTTP/${httpVersion}\r\n${lines.join('')}\r\n`,
  }
}

/** A request's fields as they are passed on: with one forward less, where it says how many it may have. */
export function withOneLess(request: IncomingMessage, fields: HeaderList): HeaderList {
  const left = forwardsLeft(request)
  if (left === undefined) return fields
  return fields.map(([name, value]) => [
    name,
    name.toLowerCase() === 'max-forwards' ? String(Math.max(0, left - 1)) : value,
  ])
}

/** Larger than any number of proxies, and exact. */
const MOST = 1_000_000

/** Of other methods it may be ignored, and what is no number says nothing. */
function forwardsLeft({ method, headers }: IncomingMessage): number | undefined {
  if (method !== 'OPTIONS' && method !== 'TRACE') return undefined
  const value = headers['max-forwards']
  return typeof value === 'string' && /^\d+$/.test(value) ? Math.min(MOST, Number(value)) : undefined
}
