import { connect, type Socket } from 'node:net'
import type { Dial } from '../../protocol/link/transport.ts'
import { LocalTransport } from '../../protocol/node/local-transport.ts'
import { isOwn, socketPath } from './place.ts'

const BEARER = 'Bearer '

/** Dials over the link that `tunnel up` keeps to the proxy at `base`, where there is one, and by `cold` otherwise. */
export function warmDial(base: string, cold: Dial): Dial {
  return async (url, options) => {
    const token = options.headers?.authorization?.slice(BEARER.length)
    const socket = token === undefined ? undefined : await connectLocal(socketPath(base, token))
    if (socket !== undefined) return new LocalTransport(socket, options.maxFrameBytes)
    return cold(url, options)
  }
}

/** Undefined where nobody listens. */
export function connectLocal(path: string): Promise<Socket | undefined> {
  if (process.platform === 'win32' || !isOwn(path)) return Promise.resolve(undefined)
  return new Promise((resolve) => {
    const socket = connect(path)
    const failed = (): void => resolve(undefined)
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.off('error', failed)
      resolve(socket)
    })
  })
}
