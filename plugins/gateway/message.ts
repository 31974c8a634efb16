import type { IncomingMessage, ServerResponse } from 'node:http'
import { endToEnd, hasHeader } from '../../protocol/codec/headers.ts'
import type { HeaderList, HttpResponseHead } from '../../protocol/codec/heads.ts'
import type { Asked } from './asked.ts'
import { pairs } from './request-headers.ts'
import { responseFields } from './response-headers.ts'

/** What a trailer cannot say, because it has to be known before the body (RFC 9110, section 6.5.1). */
const NO_TRAILER = /^(content-.*|host|authorization|cookie|expect|forwarded|x-forwarded-.*)$/i

/** Of a request whose body has ended. */
export function trailersOf({ rawTrailers }: IncomingMessage): HeaderList {
  return endToEnd(pairs(rawTrailers)).filter(([name]) => !NO_TRAILER.test(name))
}

/** The head of a response, for a socket. */
export function headText(head: HttpResponseHead, asked: Asked): string {
  const fields = pairs(responseFields(head, asked)).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${head.status} ${head.statusText}\r\n${fields.join('')}\r\n`
}

/** Writes the head of a response. Returns whether the end of the body shows in the body itself. */
export function writeHead(
  { request, response, asked }: { request: IncomingMessage; response: ServerResponse; asked: Asked },
  head: HttpResponseHead,
): boolean {
  // What was set here is for the tunnel's own answers.
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.sendDate = false
  const hasLength = hasHeader(head.headers, 'content-length')
  const isBodiless = request.method === 'HEAD' || head.status === 204 || head.status === 304
  const isChunked = request.httpVersion === '1.1' && !hasLength && !isBodiless
  for (const [name, value] of pairs(responseFields(head, asked))) {
    // Node refuses to announce trailers where there can be none.
    if (isChunked || name.toLowerCase() !== 'trailer') response.appendHeader(name, value)
  }
  // The socket's cork: Node 24 keeps the chunks of a corked response until after the end of its body.
  const { socket } = response
  socket?.cork()
  response.writeHead(head.status, head.statusText)
  // The head leaves at once, whether or not there are bytes; flushHeaders would write it in UTF-8.
  response.write('', 'latin1')
  process.nextTick(() => socket?.uncork())
  return hasLength || isChunked || isBodiless
}
