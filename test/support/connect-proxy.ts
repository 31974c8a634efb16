import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Scope } from './scope.ts'

export interface ConnectProxy {
  /** `host:port`. */
  at: string
  /** What it was asked for, in order. */
  seen: string[]
}

/**
 * An HTTP proxy that opens ways to this computer's ports but 22, to whoever gives `credentials` (`name:password`); it
 * answers all other requests with `[]`.
 */
export async function startConnectProxy(scope: Scope, credentials: string): Promise<ConnectProxy> {
  const seen: string[] = []
  const proxy = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    response.end('[]')
  })
  proxy.on('connect', (request, socket: Socket) => {
    seen.push(`CONNECT ${request.url}`)
    socket.on('error', () => {})
    const given = Buffer.from(request.headers['proxy-authorization']?.slice(6) ?? '', 'base64').toString()
    if (given !== credentials) return socket.end('HTTP/1.1 407 No\r\nproxy-authenticate: Basic\r\n\r\n')
    if (request.url?.endsWith(':22')) return socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const far = connect(Number(request.url?.split(':')[1]), 'localhost')
    far.on('error', () => socket.destroy())
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    return socket.pipe(far).pipe(socket)
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  scope.after(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  return { at: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen }
}
