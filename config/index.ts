import { resolve as absolute } from 'node:path'
import { fileReason } from '../protocol/node/file-reason.ts'
import { Checks } from './checks.ts'
import type { Problem } from './errors.ts'
import { defaultStateDir } from './folders.ts'
import type { Assignment } from './layers.ts'
import { type Explained, explainTree, profileOf, readSources, refuse, type Sources } from './load.ts'
import type { SchemaNode, Tree } from './nodes.ts'
import { type Settings, SettingsSchema } from './schema.ts'
import { readOrMakeSecrets, readSecrets, secretsFile, shortSecret } from './secrets.ts'
import { mistrustOfState } from './trust.ts'
import { SECRETS } from './variables.ts'

export { type ClientSettings, loadClientSettings } from './client.ts'
export { ConfigError, type Problem } from './errors.ts'
export { defaultStateDir } from './folders.ts'
export { LiveSettings } from './live.ts'
export type { Explained, Sources } from './load.ts'
export { PROFILES, type Profile } from './profiles.ts'
export { type Settings, SettingsSchema } from './schema.ts'
export { readSecrets } from './secrets.ts'
export { type Setting, settingsNamed } from './setting.ts'

const ROOT = SettingsSchema as unknown as SchemaNode

export interface LoadOptions extends Sources {
  /** Stronger than every other source of `state.dir`. */
  stateDir?: string | undefined
  /**
   * `make` (default): secrets that nobody gave are made once and kept in the state folder, except with `production`.
   * `leave`: nothing is written, and a secret that nobody gave nor made stays empty.
   */
  secrets?: 'make' | 'leave' | undefined
}

export interface LoadedSettings {
  profile: string
  settings: Settings
  /** Where each setting that is not at its default came from, by its path. */
  sources: ReadonlyMap<string, string>
  warnings: string[]
  explain(): Explained[]
}

/** The settings of a server. Throws ConfigError (CONFIG_INVALID), which names every mistake there is. */
export function loadSettings(from: LoadOptions = {}): LoadedSettings {
  const profile = profileOf(from)
  const env = from.env ?? process.env
  const fallback: Assignment = {
    path: ['state', 'dir'],
    value: defaultStateDir(env),
    isText: true,
    source: 'default',
  }
  const flags = [...(from.flags ?? [])]
  if (from.stateDir !== undefined)
    flags.push({ name: '--state-dir', path: 'state.dir', value: from.stateDir })
  const { tree, sources, problems } = readSources(ROOT, { ...from, env, flags }, [fallback])
  const settings = tree as unknown as Settings
  if (typeof settings.state.dir === 'string') settings.state.dir = absolute(settings.state.dir)

  const warnings: string[] = []
  fillSecrets(settings, profile, from.secrets ?? 'make', sources, problems, warnings)
  const checks = new Checks(settings, sources, profile)
  refuse([...problems, ...checks.problems], 'proxy')
  warnings.push(...checks.warnings)
  return {
    profile,
    settings,
    sources,
    warnings,
    explain: () => explainTree(ROOT, settings as unknown as Tree, sources),
  }
}

function fillSecrets(
  settings: Settings,
  profile: string,
  mode: 'make' | 'leave',
  sources: Map<string, string>,
  problems: Problem[],
  warnings: string[],
): void {
  const isProduction = profile === 'production'
  const missing = SECRETS.filter(({ path }) => secretAt(settings, path) === '')
  for (const { path, variable } of SECRETS) {
    if (problems.some((problem) => problem.path === path)) continue
    const source = sources.get(path)
    const value = secretAt(settings, path)
    if (source !== undefined) {
      const problem = shortSecret(path, value, source)
      if (problem !== undefined) problems.push(problem)
      if (source.startsWith('flag'))
        warnings.push(`${path} was given by a flag, which other users of this machine can see`)
    } else if (isProduction) {
      const reason = `with the profile production it must be given: ${variable}, or ${variable}_FILE with a file's name`
      problems.push({ kind: 'missing', path, source: 'not given', reason })
    }
  }
  const { dir } = settings.state
  const untrusted = mistrustOfState(dir)
  if (untrusted !== undefined) {
    const [value, source] = [JSON.stringify(dir), sources.get('state.dir') ?? 'default']
    problems.push({ kind: 'value', path: 'state.dir', value, source, reason: untrusted })
  }
  // A configuration that is refused anyway leaves nothing behind.
  if (isProduction || missing.length === 0 || problems.length > 0) return
  try {
    const made = mode === 'make' ? readOrMakeSecrets(dir) : readSecrets(dir)
    if (made === undefined) return
    for (const { name, path } of missing) {
      setSecret(settings, path, made[name])
      sources.set(path, `file ${secretsFile(dir)}`)
    }
  } catch (error) {
    const reason = `the secrets in this folder cannot be read or made: ${fileReason(error)}`
    problems.push({
      kind: 'source',
      path: 'state.dir',
      value: JSON.stringify(dir),
      source: sources.get('state.dir')!,
      reason,
    })
  }
}

function secretAt(settings: Settings, path: (typeof SECRETS)[number]['path']): string {
  return path === 'auth.secret' ? settings.auth.secret : settings.ssh.masterSecret
}

function setSecret(settings: Settings, path: (typeof SECRETS)[number]['path'], value: string): void {
  if (path === 'auth.secret') settings.auth.secret = value
  else settings.ssh.masterSecret = value
}
