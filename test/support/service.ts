import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
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
