import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { Checks } from './checks.ts'
import { ConfigError, type Problem } from './errors.ts'
import { split } from './layers.ts'
import { type Explained, explainTree, refuse } from './load.ts'
import { isTree, nodeAt, type SchemaNode, settingsOf, type Tree } from './nodes.ts'
import { resolve } from './resolve.ts'
import { brokenRules } from './rules.ts'
import { type Settings, SettingsSchema } from './schema.ts'

const ROOT = SettingsSchema as unknown as SchemaNode

/** What holds at once when it changes: these settings, and what stands beneath them. Everything else needs a restart. */
const LIVE = [
  ...['log.level', 'tracing.ratio'],
  ...['health.maxLagMs', 'health.maxHeapShare', 'health.maxRssBytes', 'health.retryAfterMs'],
  ...['breaker', 'pool', 'rateLimit.tiers', 'tiers', 'policy', 'machines', 'shutdown.serverMs'],
]

function isLive(path: string): boolean {
  return LIVE.some((live) => path === live || path.startsWith(`${live}.`))
}

const ADMIN = 'PATCH config'

/** Settings as all sources but an administrator's give them, and where each came from. */
export interface Base {
  settings: Settings
  sources: ReadonlyMap<string, string>
}

export interface Change {
  /** Settings that hold from now on. */
  changed: string[]
  /** Those that differ from what holds, and will hold after a restart. */
  needRestart: string[]
}

export interface DescribedSetting extends Explained {
  /** It may be changed while the proxy runs. */
  live: boolean
  /** A value that a source has for it waits for the next start. */
  needsRestart: boolean
}

/**
 * The settings of a proxy that runs. Its sections stay the objects that plugins were given, so that whoever reads one at
 * each use sees what holds; whoever has made something of it listens. What an administrator has set lies over all other
 * sources until the process ends.
 */
export class LiveSettings {
  readonly #settings: Settings
  readonly #read: (() => Base) | undefined
  readonly #instance = randomUUID().slice(0, 8)
  readonly #listeners: ((changed: readonly string[]) => void)[] = []
  readonly #checks: ((next: Tree) => void)[] = []
  #base: Base
  #sources: ReadonlyMap<string, string>
  #overrides: Tree = {}
  #revision = 0
  #waiting: readonly string[] = []

  /** @param read all sources anew; absent where the settings were made by a program */
  constructor(settings: Settings, sources: ReadonlyMap<string, string> = new Map(), read?: () => Base) {
    this.#settings = settings
    this.#base = { settings: structuredClone(settings), sources }
    this.#sources = sources
    this.#read = read
  }

  /** Another one after each change, and in each process. */
  get version(): string {
    return `${this.#instance}-${this.#revision}`
  }

  /** Every setting that has a value; secrets masked. */
  describe(): DescribedSetting[] {
    return explainTree(ROOT, this.#settings as unknown as Tree, this.#sources).map((setting) => ({
      ...setting,
      live: isLive(setting.path),
      needsRestart: this.#waiting.includes(setting.path),
    }))
  }

  /** Calls `listener` after each change, with the settings that have changed. */
  onChange(listener: (changed: readonly string[]) => void): void {
    this.#listeners.push(listener)
  }

  /** Calls `check` before each change with the section as it is to be; an error refuses the change. */
  beforeChange<Section>(name: string, check: (section: Section) => void): void {
    this.#checks.push((next) => check(next[name] as Section))
  }

  /**
   * Changes settings, all or none of them, by a JSON merge patch (RFC 7396): null gives a setting back to the other sources.
   * @throws {ConfigError} with everything that is wrong, or what a check of `beforeChange` throws
   */
  patch(patch: Tree): Change {
    const problems = patchProblems(patch)
    if (problems.length > 0) throw new ConfigError(problems, 'proxy')
    const overrides = merged(this.#overrides, patch)
    const change = this.#apply(this.#base, overrides)
    this.#overrides = overrides
    return change
  }

  /**
   * Reads all sources again, and takes of what has changed that which can be taken now.
   * @throws {ConfigError} with everything that is wrong, or what a check throws; then all is as it was
   */
  reload(): Change {
    const base = this.#read?.() ?? this.#base
    const change = this.#apply(base, this.#overrides)
    this.#base = base
    return change
  }

  #apply(base: Base, overrides: Tree): Change {
    const next = overlaid(base, overrides)
    for (const check of this.#checks) check(next.tree)
    const differing = [...settingsOf(ROOT)]
      .map(([path]) => path)
      .filter((path) => !isDeepStrictEqual(valueAt(this.#settings, path), valueAt(next.tree, path)))
    const live = differing.filter((path) => isLive(path.join('.')))
    for (const path of live) put(this.#settings as unknown as Tree, path, valueAt(next.tree, path))
    const changed = live.map((path) => path.join('.'))
    this.#waiting = differing.map((path) => path.join('.')).filter((path) => !isLive(path))
    this.#sources = next.sources
    this.#revision++
    if (changed.length > 0) for (const listener of this.#listeners) listener(changed)
    return { changed, needRestart: [...this.#waiting] }
  }
}

/** @throws {ConfigError} */
function overlaid(base: Base, overrides: Tree): { tree: Tree; sources: ReadonlyMap<string, string> } {
  const given = [...split(ROOT, base.settings, [], 'default'), ...split(ROOT, overrides, [], ADMIN)]
  const { tree, sources: origins, problems } = resolve(ROOT, given)
  const sources = new Map(base.sources)
  for (const [path, origin] of origins) if (origin === ADMIN) sources.set(path, ADMIN)
  const checked = tree as unknown as Settings
  const all = [...problems, ...brokenRules(tree, sources)]
  // Files and addresses are judged once the values are some; what only a start must not have was judged then.
  if (all.length === 0) all.push(...new Checks(checked, sources, 'development').problems)
  refuse(all, 'proxy')
  return { tree, sources }
}

function patchProblems(patch: Tree): Problem[] {
  const problems: Problem[] = []
  for (const { path, value } of split(ROOT, patch, [], ADMIN)) {
    const name = path.join('.')
    const about = { path: name, source: ADMIN }
    // Of a name that there is not, and has a value, the schema says so, with a suggestion.
    if (value === null) {
      if (nodeAt(ROOT, path) === undefined)
        problems.push({ kind: 'unknown', ...about, reason: 'there is no such setting' })
    } else if (nodeAt(ROOT, path) !== undefined && !isLive(name) && !isEmpty(value))
      problems.push({
        kind: 'value',
        ...about,
        reason: 'it cannot be changed while the proxy runs: it needs a restart',
      })
  }
  return problems
}

function isEmpty(value: unknown): boolean {
  return isTree(value) && Object.keys(value).length === 0
}

/** RFC 7396, section 2, but that a null is taken out of `target` also where it stands inside of something new. */
function merged(target: Tree, patch: Tree): Tree {
  const result: Tree = { ...target }
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name]
    else if (!isTree(value)) result[name] = value
    else result[name] = merged(isTree(result[name]) ? result[name] : {}, value)
  }
  return result
}

function valueAt(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, name) => (isTree(at) ? at[name] : undefined), tree)
}

/** Writes a value where its group stands; a record keeps its identity. */
function put(tree: Tree, path: readonly string[], value: unknown): void {
  const group = path.slice(0, -1).reduce<Tree>((at, name) => at[name] as Tree, tree)
  const name = path.at(-1)!
  const before = group[name]
  if (value === undefined) delete group[name]
  else if (isTree(before) && isTree(value)) {
    for (const key of Object.keys(before)) delete before[key]
    Object.assign(before, value)
  } else group[name] = value
}
