import { resolve } from 'node:path'
import type { ClientSettings } from '../client/index.ts'
import { loadSettings } from '../client/profiles.ts'
import type { Flag } from '../config/layers.ts'
import { mayBeClientSetting, SHORT_VARIABLES, variableOf } from '../config/variables.ts'
import type { Fetch } from '../protocol/link/transport.ts'
import type { Access, AccessOptions } from './credentials.ts'
import { TRANSPORTS } from './definition.ts'
import { UsageError } from './failure.ts'

/** One of the settings by which a proxy is reached, as it was given outside of the settings' own sources. */
export type GivenSetting = Exclude<Flag, string>

/** What a context may say of the way to its proxy, and the setting that it is. */
export const REACH_KEYS = {
  ca: 'tls.ca',
  cert: 'tls.cert',
  key: 'tls.key',
  pin: 'tls.pin',
  transport: 'network.transport',
  proxy: 'network.proxy',
} as const
export type ReachKey = keyof typeof REACH_KEYS
/** Of a context: files by their whole names. */
export type ReachOfContext = { [Key in ReachKey]?: string }

/** Those that name a file. */
export const REACH_FILES: ReadonlySet<string> = new Set(['ca', 'cert', 'key'])

/**
 * What flags and short variables say of the way to a proxy, and a context where neither these nor a variable does.
 * @throws {UsageError}
 */
export function givenSettings(
  { ca, transport }: Pick<AccessOptions, 'ca' | 'transport'>,
  context: ReachOfContext,
  env: NodeJS.ProcessEnv,
): GivenSetting[] {
  const flags: ReachOfContext = {
    ...(ca !== undefined && { ca }),
    ...(transport !== undefined && { transport }),
  }
  const given: GivenSetting[] = []
  for (const [key, path] of Object.entries(REACH_KEYS) as [ReachKey, string][]) {
    const short = [...SHORT_VARIABLES].find(([, setting]) => setting === path)?.[0]
    const byVariable = env[variableOf(path.split('.'))]
    const ofShort = short === undefined ? undefined : env[short] || undefined
    const value = flags[key] ?? ofShort ?? (byVariable === undefined ? context[key] : undefined)
    if (value === undefined) continue
    const name = flags[key] === undefined ? (short ?? key) : `--${key}`
    given.push({
      name,
      path,
      value: REACH_FILES.has(key) ? resolve(value) : key === 'transport' ? checkTransport(value) : value,
    })
  }
  return given
}

/** @throws {UsageError} */
export function checkTransport(word: string): string {
  if ((TRANSPORTS as readonly string[]).includes(word)) return word
  throw new UsageError(`a transport is ${TRANSPORTS.join(', ')}, not "${word}"`)
}

/** What was given, as a context keeps it. */
export function reachOf(given: readonly GivenSetting[]): ReachOfContext {
  const keys = Object.keys(REACH_KEYS) as ReachKey[]
  return Object.fromEntries(
    given.map(({ path, value }) => [keys.find((key) => REACH_KEYS[key] === path), value]),
  )
}

/** The same for a program that is started by this one, wherever that runs. */
export function environmentOf(given: readonly GivenSetting[], env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const files = [...REACH_FILES].map((key) => variableOf(REACH_KEYS[key as ReachKey].split('.')))
  const found = files.filter((name) => env[name])
  return {
    ...Object.fromEntries(found.map((name) => [name, resolve(env[name] as string)])),
    ...Object.fromEntries(given.map(({ path, value }) => [variableOf(path.split('.')), value])),
    // Said by its long name now, and never by two.
    ...Object.fromEntries(
      [...SHORT_VARIABLES].flatMap(([short, path]) =>
        given.some((each) => each.path === path) ? [[short, undefined]] : [],
      ),
    ),
  }
}

/** A profile alone is there resolved already; what the environment sets is checked, which takes a moment longer. */
export async function clientSettings(
  { profile, given }: Pick<Access, 'profile' | 'given'>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<ClientSettings> {
  if (Object.keys(env).some(mayBeClientSetting)) {
    const { loadClientSettings } = await import('../config/index.ts')
    return (await loadClientSettings({ profile, env, flags: given })).settings
  }
  const settings = await loadSettings(profile)
  const sections = settings as unknown as Record<string, Record<string, unknown>>
  for (const { path, value } of given) {
    const [section = '', name = ''] = path.split('.')
    sections[section] = { ...sections[section], [name]: value }
  }
  return settings
}

/** Asks the routes of a proxy by the way that its links go. */
export async function fetchOf(access: Pick<Access, 'profile' | 'given'>): Promise<Fetch> {
  const { fetchBy } = await import('../protocol/node/http-client.ts')
  return fetchBy(await clientSettings(access))
}
