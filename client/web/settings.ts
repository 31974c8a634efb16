import type { ClientOverrides, ClientSettings } from '../options.ts'
import { loaded } from '../part.ts'

/** Settings by section and name. */
export type Sections<T> = Record<string, Record<string, T>>

/** Written into the bundle by the build. A page loads neither TypeBox nor files. */
declare const BUILT_DEFAULTS: Sections<unknown>

/**
 * The settings of a profile, with overrides on top.
 * @throws {TunnelError} CONFIG_INVALID with every mistake there is
 */
export async function loadSettings(
  profile = 'default',
  overrides?: ClientOverrides,
): Promise<ClientSettings> {
  const settings: Sections<unknown> = {}
  for (const [section, values] of Object.entries(BUILT_DEFAULTS)) settings[section] = { ...values }
  // Most pages take the defaults as they are.
  if (profile !== 'default' || overrides !== undefined) {
    const { override } = await loaded(import('./overrides.ts'))
    override(settings, profile, overrides)
  }
  return settings as unknown as ClientSettings
}
