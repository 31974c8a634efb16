import { dialFromPage } from '../../dial/web/dial.ts'
import { watchNetwork } from '../../dial/web/network-watch.ts'
import { systemClock } from '../../protocol/clock.ts'
import { loaded } from '../part.ts'
import type { Platform } from '../platform.ts'
import { loadSettings } from './settings.ts'

/** Of the package; written into the bundle by the build. */
declare const BUILT_VERSION: string

/** A browser's. */
export const platform: Platform = {
  dial: dialFromPage,
  fetchBy: () => (url, init) => fetch(url, init),
  watchNetwork,
  loadSettings,
  // Loaded when a queue is kept, because most pages keep none.
  async keepRequests(path, { queue }, options) {
    const { KeptRequests, TabRequests } = await loaded(import('./tab-requests.ts'))
    // A store of the program's own and no name that tabs could share.
    return queue.dir === '' ? new KeptRequests(path, options) : new TabRequests(path, queue, options)
  },
  clock: systemClock,
  random: Math.random,
  software: `ssh-websocket-tunnel client/${BUILT_VERSION} (browser)`,
}
