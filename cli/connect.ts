import { TunnelService, type TunnelServiceOptions } from '../client/index.ts'
import { mayBeClientSetting } from '../config/variables.ts'
import { dialWebSocket } from '../protocol/node/websocket.ts'
import { type AccessOptions, accessFrom } from './credentials.ts'
import { waitOut } from './wait-out.ts'
import { nearDial, warmDial } from './warm/dial.ts'
import { commandPath } from './warm/place.ts'

export interface TunnelUse {
  /** Is told why a proxy that asks for it is waited for. */
  say?: (line: string) => void
  /** A link that was lost is dialled again without end: there will be connections that want it. @default false */
  persistent?: boolean
}

/** Dials in a row after which a persistent connection would give up: there never are as many. */
export const NEVER_GIVE_UP = 1_000_000

/** Connects for the length of `use`, and ends what is left of it. */
export async function withTunnel<T>(
  options: AccessOptions,
  use: (tunnel: TunnelService) => Promise<T>,
  { say = () => {}, persistent = false }: TunnelUse = {},
): Promise<T> {
  const { urls, token, tokenCommand, profile } = accessFrom(options)
  const platform = {
    dial: warmDial(urls[0], dialWebSocket),
    dialNear: tokenCommand && nearDial(commandPath(urls[0], tokenCommand)),
  }
  const settings = await settingsOf(profile, persistent)
  const tunnel = new TunnelService({ url: urls, token, platform, ...settings })
  let failed = true
  try {
    await waitOut(() => tunnel.connect(), say, true)
    const result = await use(tunnel)
    failed = false
    return result
  } finally {
    // What failed has nothing under way that would be worth waiting for.
    await tunnel.disconnect(failed ? 0 : undefined)
  }
}

/** A profile alone is there resolved already; what the environment sets is checked, which takes a moment longer. */
export async function settingsOf(
  profile: string | undefined,
  persistent = false,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Pick<TunnelServiceOptions, 'profile' | 'settings' | 'resolvedSettings'>> {
  const backoff = { maxAttempts: NEVER_GIVE_UP }
  const hasSettings = Object.keys(env).some(mayBeClientSetting)
  if (!hasSettings)
    return { ...(profile !== undefined && { profile }), ...(persistent && { settings: { backoff } }) }
  const { loadClientSettings } = await import('../config/index.ts')
  const { settings } = await loadClientSettings({ profile, env })
  if (persistent) Object.assign(settings.backoff, backoff)
  return { resolvedSettings: settings }
}
