// The web service that benchmarks ask, in a process of its own: `/bytes/N` gives N bytes, anything else a small answer.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { SMALL_ANSWER } from './answer.ts'

const BLOCK = Buffer.alloc(64 * 1_024, 'benchmark ')

function* blocks(byteCount: number): Generator<Buffer> {
  for (let left = byteCount; left > 0; left -= BLOCK.length)
    yield left >= BLOCK.length ? BLOCK : BLOCK.subarray(0, left)
}

const server = createServer({ keepAliveTimeout: 600_000 }, (request, response) => {
  const byteCount = Number(/^\/bytes\/(\d+)$/.exec(request.url ?? '')?.[1] ?? -1)
  if (byteCount >= 0) {
    response.setHeader('content-length', byteCount)
    Readable.from(blocks(byteCount), { objectMode: false }).pipe(response)
  } else {
    response.setHeader('content-type', 'application/json')
    response.end(SMALL_ANSWER)
  }
})
server.listen(0, '127.0.0.1', () => console.log(`port ${(server.address() as AddressInfo).port}`))
