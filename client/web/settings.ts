import { TunnelError } from '../../protocol/codec/errors.ts'
import type { ClientOverrides, ClientSettings } from '../options.ts'

/** Settings by section and name. */
export type Sections<T> = Record<string, Record<string, T>>

/** Written into the bundle by the build: what each profile makes of the defaults. A page loads neither TypeBox nor files. */
declare const BUILT_PROFILES: { defaults: Sections<unknown>; profiles: Record<string, Sections<unknown>> }

/**
 * The settings of a profile, with overrides on top.
 * @throws {TunnelError} CONFIG_INVALID with every mistake there is
 */
export async function loadSettings(
  profile = 'default',
  overrides?: ClientOverrides,
): Promise<ClientSettings> {
  const { defaults, profiles } = BUILT_PROFILES
  if (!Object.hasOwn(profiles, profile))
    throw invalid(`profile = ${JSON.stringify(profile)}: is not a known profile`)
  const settings: Sections<unknown> = {}
  for (const [section, values] of Object.entries(defaults))
    settings[section] = { ...values, ...profiles[profile]?.[section] }
  if (overrides !== undefined) {
    // Most pages take a profile as it is.
    const { override } = await import('./overrides.ts')
    const wrong = override(settings, overrides)
    if (wrong.length > 0) throw invalid(`in the client's settings: ${wrong.join('; ')}`)
  }
  return settings as unknown as ClientSettings
}

function invalid(what: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', what, { hop: 'client' })
}
