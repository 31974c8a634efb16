import type { IncomingMessage } from 'node:http'
import { TunnelError } from '../../protocol/codec/errors.ts'

/**
 * Why a request could be read differently by whoever stands before this proxy. Node takes the first of two such fields, others
 * the last: one of them would check another host, or another token, than the other one uses. Undefined where it cannot.
 */
export function ambiguityOf(request: IncomingMessage): TunnelError | undefined {
  const { httpVersion, rawHeaders } = request
  if (httpVersion !== '1.1' && httpVersion !== '1.0')
    return unclear(`it claims to be HTTP/${httpVersion}, and is written as HTTP/1.1`)
  let hosts = 0
  let authorizations = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    // Each request comes by here.
    if (name.length === HOST.length && name.toLowerCase() === HOST) hosts++
    else if (name.length === AUTHORIZATION.length && name.toLowerCase() === AUTHORIZATION) authorizations++
  }
  if (hosts > 1) return unclear('it has more than one Host')
  if (authorizations > 1) return unclear('it has more than one Authorization')
  // RFC 9112, section 3.2
  if (hosts === 0 && httpVersion === '1.1') return unclear('it has no Host')
  return undefined
}

const HOST = 'host'
const AUTHORIZATION = 'authorization'

function unclear(why: string): TunnelError {
  return new TunnelError('REQUEST_INVALID', `the request is not clear: ${why}`, { hop: 'proxy' })
}
