import type { Dial } from '../protocol/link/transport.ts'
import { type DetourMemory, Detours, dialByWhatPasses } from './detours.ts'
import { addresses } from './network-watch.ts'

const webSocket = () => import('../protocol/node/dial-websocket.ts')
const http = () => import('../protocol/node/dial-http.ts')

/**
 * Has what dials loaded, which otherwise the first dial does: it is half of a command's start, and a command that finds the
 * link of `tunnel up` dials nothing. An update may take the files away from one that runs for long.
 */
export async function loadDials(): Promise<void> {
  await Promise.all([webSocket(), http()])
}

/** Dials a proxy by whatever passes, as Node does it. What does not is remembered in `memory`. */
export function dialWith(memory: DetourMemory): Dial {
  return dialByWhatPasses({
    webSocket: async (url, options) => (await webSocket()).dialWebSocket(url, options),
    http: async (url, options) => (await http()).dialHttp(url, options),
    memory,
  })
}

/** The same for everything in this process: all of it is in one network. */
export const dialProxy = dialWith(new Detours(addresses))
