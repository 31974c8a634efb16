import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Scope } from '../../support/scope.ts'

/** The service on the machine. */
export interface Target {
  readonly port: number
  /** How often each `?key=`, or Idempotency-Key, was executed. */
  readonly counts: Map<string, number>
}

/**
 * - `/echo` says what it was sent; `/count` counts, and takes `?ms=`.
 * - `/parts` sends 'one', and 'two' when somebody asks for `/go`.
 */
export async function startTarget(scope: Scope): Promise<Target> {
  const counts = new Map<string, number>()
  let go = (): void => {}
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://target')
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    if (pathname === '/count') {
      const key = searchParams.get('key') ?? String(request.headers['idempotency-key']).replaceAll('"', '')
      counts.set(key, (counts.get(key) ?? 0) + 1)
      const ms = Number(searchParams.get('ms') ?? 0)
      setTimeout(() => response.end(key), ms)
    } else if (pathname === '/parts') {
      response.write('one')
      go = () => response.end('two')
    } else if (pathname === '/go') {
      go()
      response.end()
    } else {
      const { method, headers } = request
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ method, headers, body }))
    }
  }
  const server = createServer((request, response) => void answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, counts }
}
