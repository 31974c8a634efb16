import { TunnelService, type TunnelServiceOptions } from '../client/index.ts'
import { mayBeClientSetting } from '../config/variables.ts'
import { type AccessOptions, accessFrom } from './credentials.ts'
import { waitOut } from './wait-out.ts'

/**
 * Connects for the length of `use`, and ends what is left of it.
 * @param say is told why a proxy that asks for it is waited for
 */
export async function withTunnel<T>(
  options: AccessOptions,
  use: (tunnel: TunnelService) => Promise<T>,
  say: (line: string) => void = () => {},
): Promise<T> {
  const { urls, token, profile } = accessFrom(options)
  const tunnel = new TunnelService({ url: urls, token, ...(await settingsOf(profile)) })
  let failed = true
  try {
    await waitOut(() => tunnel.connect(), say)
    const result = await use(tunnel)
    failed = false
    return result
  } finally {
    // What failed has nothing under way that would be worth waiting for.
    await tunnel.disconnect(failed ? 0 : undefined)
  }
}

/** A profile alone is there resolved already; what the environment sets is checked, which takes a moment longer. */
async function settingsOf(
  profile: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Pick<TunnelServiceOptions, 'profile' | 'resolvedSettings'>> {
  const hasSettings = Object.keys(env).some(mayBeClientSetting)
  if (!hasSettings) return profile === undefined ? {} : { profile }
  const { loadClientSettings } = await import('../config/index.ts')
  return { resolvedSettings: (await loadClientSettings({ profile, env })).settings }
}
