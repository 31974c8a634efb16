import { dialHttp } from '../protocol/node/dial-http.ts'
import { dialWebSocket } from '../protocol/node/dial-websocket.ts'
import { type DetourMemory, Detours, dialByWhatPasses } from './detours.ts'
import { addresses } from './network-watch.ts'

/** Dials a proxy by whatever passes, as Node does it. What does not is remembered in `memory`. */
export function dialWith(memory: DetourMemory) {
  return dialByWhatPasses({ webSocket: dialWebSocket, http: dialHttp, memory })
}

/** The same for everything in this process: all of it is in one network. */
export const dialProxy = dialWith(new Detours(addresses))
