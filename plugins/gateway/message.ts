import type { IncomingMessage } from 'node:http'
import { endToEnd } from '../../protocol/codec/headers.ts'
import type { HeaderList, HttpResponseHead } from '../../protocol/codec/heads.ts'
import type { Asked } from './asked.ts'
import { pairs } from './request-headers.ts'
import { responseFields } from './response-headers.ts'

/** What a trailer cannot say, because it has to be known before the body (RFC 9110, section 6.5.1). */
const NO_TRAILER = /^(content-.*|host|authorization|cookie|expect|forwarded|x-forwarded-.*)$/i

/** Whether a body follows the head of a request (RFC 9112, section 6). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Of a request whose body has ended. */
export function trailersOf({ rawTrailers }: IncomingMessage): HeaderList {
  return endToEnd(pairs(rawTrailers)).filter(([name]) => !NO_TRAILER.test(name))
}

/** The head of a response, for a socket. */
export function headText(head: HttpResponseHead, form: Asked['form']): string {
  const fields = pairs(responseFields(head, form)).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${head.status} ${head.statusText}\r\n${fields.join('')}\r\n`
}
