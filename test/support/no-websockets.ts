import { connect } from 'node:net'
import { listenTcp } from './proxy.ts'
import type { Scope } from './scope.ts'

/** Stands before a proxy of this computer, answers each upgrade with 403, and passes all else on; its URL. */
export async function startWithoutWebSockets(scope: Scope, port: number): Promise<string> {
  const address = await listenTcp(scope, (socket) => {
    let head = ''
    const read = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      socket.off('data', read)
      if (/^upgrade:/im.test(head)) {
        socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        return
      }
      const far = connect(port, '127.0.0.1')
      far.on('error', () => socket.destroy()).once('close', () => socket.destroy())
      socket.once('close', () => far.destroy())
      far.write(Buffer.from(head, 'latin1'))
      socket.pipe(far).pipe(socket)
    }
    socket.on('data', read)
  })
  return `http://${address}`
}
