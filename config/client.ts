import { ClientSettings } from '../client/options.ts'
import { type Explained, explainTree, profileOf, readSources, refuse, type Sources } from './load.ts'
import type { SchemaNode } from './nodes.ts'

export type { ClientSettings } from '../client/options.ts'

const ROOT = ClientSettings as unknown as SchemaNode

/** What client and agent need of the settings: no secret, no server's section. */
export interface LoadedClientSettings {
  profile: string
  settings: ClientSettings
  explain(): Explained[]
}

/**
 * Throws ConfigError (CONFIG_INVALID) with every mistake. A setting that only a server has is none.
 * @param hop whose settings they are
 */
export async function loadClientSettings(
  from: Sources = {},
  hop: 'client' | 'agent' = 'client',
): Promise<LoadedClientSettings> {
  const { tree, sources, problems } = readSources(ROOT, from)
  const isUnknown = problems.some(({ kind }) => kind === 'unknown')
  refuse(isUnknown ? await ofBoth(problems, from) : problems, hop)
  return {
    profile: profileOf(from),
    settings: tree as unknown as ClientSettings,
    explain: () => explainTree(ROOT, tree, sources),
  }
}

/** What is unknown to a client may be a server's. Its schema is loaded only now: `tunnel stdio` must start fast. */
async function ofBoth(problems: ReturnType<typeof readSources>['problems'], from: Sources) {
  const { SettingsSchema } = await import('./schema.ts')
  const all = readSources(SettingsSchema as unknown as SchemaNode, from).problems
  const unknown = all.filter(({ kind }) => kind === 'unknown')
  return [...problems.filter(({ kind }) => kind !== 'unknown'), ...unknown]
}
