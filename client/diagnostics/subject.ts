import type { Platform } from '../platform.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import type { TunnelServiceOptions } from '../tunnel-options.ts'
import type { Subject } from './proxy-steps.ts'

/**
 * What a client diagnoses: itself, in other clients with the same options.
 * @param make of what a client is made; its own are not touched
 */
export function subjectOf<Client extends TunnelClient>(
  { url: _, token, platform: own, retryFirst: _retry, queue: _queue, ...given }: TunnelServiceOptions,
  { dial, fetchBy, loadSettings }: Platform,
  make: (options: TunnelServiceOptions) => Client,
): Subject<Client> {
  // Its requests are its own: it has nothing to do with a queue on disk.
  const { settings, resolvedSettings: resolved } = given
  const quiet: Partial<TunnelServiceOptions> =
    resolved === undefined
      ? { settings: { ...settings, queue: { ...settings?.queue, dir: '' } } }
      : { resolvedSettings: { ...resolved, queue: { ...resolved.queue, dir: '' } } }
  return {
    token,
    dial,
    fetchBy,
    reach: async () => resolved ?? loadSettings(given.profile, settings),
    newClient: (url, token, dial) =>
      make({ ...given, ...quiet, url, token, platform: { ...own, dial, dialNear: undefined } }),
  }
}
