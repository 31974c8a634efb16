import { connect, type Socket } from 'node:net'
import { loadDials } from '../../dial/dial-proxy.ts'
import type { Dial, DialNear, DialOptions, Transport } from '../../protocol/link/transport.ts'
import { localTransport } from '../../protocol/node/local-transport.ts'
import { withoutAnswer } from './answer-timer.ts'
import { isOwn, socketPath, WELCOME } from './place.ts'

const BEARER = 'Bearer '
/** How long a process that keeps a link has to let a program in, in ms; then the proxy itself is dialled. */
const WELCOME_MS = 1_000
/** When a program that has found such a process gets ready to do without it, in ms. */
const READY_MS = 5_000

/** Dials over the link that `tunnel up` keeps to the proxy at `base`, where there is one, and by `cold` otherwise. */
export function warmDial(base: string, cold: Dial): Dial {
  const dial = async (url: string, options: DialOptions): Promise<Transport> => {
    const token = options.headers?.authorization?.slice(BEARER.length)
    const socket = token === undefined ? undefined : await connectLocal(socketPath(base, token))
    return socket === undefined ? cold(url, options) : over(socket, options.maxFrameBytes)
  }
  return cold.silent === undefined ? dial : Object.assign(dial, { silent: cold.silent })
}

/** The same by a name that is known without a token: no command is run for one that is not needed. */
export function nearDial(path: string): DialNear {
  return async (maxFrameBytes) => {
    const socket = await connectLocal(path)
    return socket && over(socket, maxFrameBytes)
  }
}

function over(socket: Socket, maxFrameBytes: number): Transport {
  setTimeout(loadDials, READY_MS).unref()
  return localTransport(socket, maxFrameBytes)
}

/** Undefined where nobody listens, or nobody is let in, or whoever listens does not answer. */
export function connectLocal(path: string): Promise<Socket | undefined> {
  if (process.platform === 'win32' || !isOwn(path)) return Promise.resolve(undefined)
  return new Promise((resolve) => {
    const socket = connect(path)
    const settle = (found: Socket | undefined): void => {
      stop()
      socket.off('error', failed).off('close', failed).off('readable', readable)
      if (found === undefined) socket.on('error', () => {}).destroy()
      resolve(found)
    }
    const failed = (): void => settle(undefined)
    const readable = (): void => {
      const welcome = socket.read(WELCOME.length) as Buffer | null
      if (welcome !== null) settle(welcome.equals(WELCOME) ? socket : undefined)
    }
    // The kernel takes connections for a process that is stopped.
    const stop = withoutAnswer(WELCOME_MS, failed)
    socket.once('error', failed).once('close', failed).on('readable', readable)
  })
}
