import { once } from 'node:events'
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Scope } from './scope.ts'

/**
 * An HTTP service on this machine.
 * @param prepare is given the server before it listens
 * @returns its port
 */
export async function startService(
  scope: Scope,
  listener: RequestListener,
  prepare: (server: Server) => void = () => {},
): Promise<number> {
  const server = createServer(listener)
  prepare(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** A service that answers each request with 'first ', and with 'last' to all of them when a test says `finish`. */
export async function startHalves(scope: Scope): Promise<{ port: number; finish(): void }> {
  const halves: ServerResponse[] = []
  const port = await startService(scope, (_request, response) => {
    response.write('first ')
    halves.push(response)
  })
  return { port, finish: () => halves.forEach((response) => void response.end('last')) }
}
