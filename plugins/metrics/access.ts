import { createHash, timingSafeEqual } from 'node:crypto'
import { metricsTokenMissing, metricsTokenWrong } from './errors.ts'
import type { MetricsOptions } from './options.ts'

/** What of a request tells who asks. */
export interface Reader {
  /** The address of the socket, not of any header. */
  remoteAddress: string | undefined
  headers: Readonly<Record<string, string | string[] | undefined>>
}

export interface MetricsAccess extends MetricsOptions {
  /** A reverse proxy stands in front: then everybody comes from where it does. */
  behindProxy: boolean
}

const LOOPBACK = /^(127(\.\d+){3}|::1|::ffff:127(\.\d+){3})$/
const LOCAL_HOST = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/i
const FORWARDING_HEADERS = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'] as const

/** Throws TOKEN_MISSING or TOKEN_INVALID when `reader` may not read the metrics. */
export function checkReader(options: MetricsAccess, reader: Reader): void {
  if (options.access === 'any' || (!options.behindProxy && isLocal(reader))) return
  const { authorization } = reader.headers
  if (typeof authorization !== 'string') throw metricsTokenMissing()
  const given = /^Bearer (.+)$/i.exec(authorization)?.[1]
  if (options.token === undefined || given === undefined || !isSame(given, options.token))
    throw metricsTokenWrong()
}

/**
 * On this machine, and not let in by a reverse proxy or a forwarder on this machine, which everybody reaches. A page in
 * this machine's browser, whose name was made to lead here, asks with that name.
 */
function isLocal({ remoteAddress, headers }: Reader): boolean {
  return (
    LOOPBACK.test(remoteAddress ?? '') &&
    LOCAL_HOST.test(String(headers.host ?? '')) &&
    FORWARDING_HEADERS.every((name) => headers[name] === undefined)
  )
}

/** Compared by digest: the time it takes tells neither length nor beginning. */
function isSame(given: string, wanted: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(wanted))
}
