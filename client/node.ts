import { dialProxy } from '../dial/dial-proxy.ts'
import { watchNetwork } from '../dial/network-watch.ts'
import { softwareOf } from '../dial/software.ts'
import { systemClock } from '../protocol/clock.ts'
import type { Platform } from './platform.ts'
import { loadSettings } from './profiles.ts'
import { KeptRequests } from './queue/kept-requests.ts'

/** Node's. A bundle for browsers puts another module in the place of this one. */
export const platform: Platform = {
  dial: dialProxy,
  // Links ask no route.
  fetchBy: (reach) => async (url, init) =>
    (await import('../protocol/node/http-client.ts')).fetchBy(reach)(url, init),
  watchNetwork: (changed) => watchNetwork(changed),
  loadSettings,
  async keepRequests(path, { queue: { dir } }, options) {
    // Loaded when a queue is kept: its native part takes longer than all the rest of a command's start.
    const inFolder = async () => (await import('./queue/level-store.ts')).LevelStore.open(dir)
    return new KeptRequests(path, { store: inFolder, ...options })
  },
  clock: systemClock,
  random: Math.random,
  software: softwareOf('client'),
}
