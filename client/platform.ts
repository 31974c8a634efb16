import type { Clock } from '../protocol/clock.ts'
import type { Dial } from '../protocol/link/transport.ts'
import type { ClientOverrides, ClientSettings } from './options.ts'

/** What differs between Node and a browser, and what a test holds in its hand. */
export interface Platform {
  dial: Dial
  /** Calls back when links may have died unseen; returns what ends the watch. */
  watchNetwork(changed: () => void): () => void
  /** @throws {TunnelError} CONFIG_INVALID */
  loadSettings(profile: string | undefined, overrides: ClientOverrides | undefined): Promise<ClientSettings>
  clock: Clock
  /** In [0, 1). */
  random(): number
  /** Name and version, said in HELLO. */
  software: string
}
