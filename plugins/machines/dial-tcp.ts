import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { hostSilent, hostUnreachable } from './errors.ts'

/** How long a configured host has to answer, in ms. */
const TCP_CONNECT_MS = 10_000

/** A TCP connection to a configured host. Throws DNS_FAILED, CONNECT_REFUSED or TIMEOUT. */
export function dialTcp(host: string, port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, timeout: TCP_CONNECT_MS })
    const onError = (error: NodeJS.ErrnoException): void => {
      socket.destroy()
      reject(hostUnreachable(host, port, error))
    }
    socket.once('error', onError)
    socket.once('timeout', () => {
      socket.destroy()
      reject(hostSilent(host, port))
    })
    socket.once('connect', () => {
      socket.setTimeout(0)
      // Whoever uses the socket listens too, but perhaps not at once.
      socket.off('error', onError).on('error', () => {})
      resolve(socket)
    })
  })
}
