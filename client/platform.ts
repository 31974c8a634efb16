import type { Clock } from '../protocol/clock.ts'
import type { Dial, DialNear, Fetch } from '../protocol/link/transport.ts'
import type { Reach } from '../protocol/options.ts'
import type { ClientOverrides, ClientSettings } from './options.ts'
import type { RequestKeeper } from './queue/keeper.ts'
import type { KeepOptions } from './queue/kept-requests.ts'
import type { RequestPath } from './request.ts'

/** What differs between Node and a browser, and what a test holds in its hand. */
export interface Platform {
  dial: Dial
  /** For the proxy's routes, by the way that links go. */
  fetchBy(reach: Reach): Fetch
  /** Tried before each dial: a way that needs no token. */
  dialNear?: DialNear | undefined
  /** Calls back when links may have died unseen; returns what ends the watch. */
  watchNetwork(changed: () => void): () => void
  /** @throws {TunnelError} CONFIG_INVALID */
  loadSettings(profile: string | undefined, overrides: ClientOverrides | undefined): Promise<ClientSettings>
  /** What keeps requests in `options.store`, or else in `queue.dir`; one of the two is there. */
  keepRequests(path: RequestPath, settings: ClientSettings, options: KeepOptions): Promise<RequestKeeper>
  clock: Clock
  /** In [0, 1). */
  random(): number
  /** Name and version, said in HELLO. */
  software: string
}
