import { WebSocket } from 'ws'
import type { TestProxy } from './proxy.ts'

/** Dials with a ticket in the URL, as a browser does; the status of the answer, 101 where it is let in. */
export function ticketClient(proxy: TestProxy, ticket: string, more: object = {}) {
  const url = `${proxy.url.replace('http', 'ws')}/api/tunnel/connect?ticket=${ticket}`
  const socket = new WebSocket(url, 'tunnel.v1', more)
  return new Promise<number>((resolve) => {
    socket.on('error', () => {})
    socket.once('open', () => {
      resolve(101)
      socket.terminate()
    })
    socket.once('unexpected-response', (request, response) => {
      resolve(response.statusCode ?? 0)
      request.destroy()
    })
  })
}
