import { type Explained, loadSettings, SettingsSchema, settingsNamed } from '../../config/index.ts'
import { type SchemaNode, settingsOf } from '../../config/nodes.ts'
import { nearest } from '../../protocol/nearest.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Definition, PROFILE_OPTION, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { tell } from '../prose.ts'
import { table } from '../table.ts'
import { warn } from '../warning.ts'

interface ConfigFlags extends CommonOptions {
  explain?: string
  config?: string
  set?: string[]
}

export const definition: Definition = {
  name: 'config',
  does: [
    'Shows the settings in effect, and where each came from: default, profile, file, environment or flag. Secrets',
    'are masked. All mistakes are named at once.',
  ].join(' '),
  examples: [
    'tunnel config',
    'tunnel config --profile unstable-network',
    'tunnel config --explain heartbeat.intervalMs',
    'tunnel config --config tunnel.json --json',
  ],
  reaches: false,
  options: [
    {
      flags: '--explain <key>',
      does: 'what a setting, or each of a section, means, and what set it',
      values: 'setting',
    },
    PROFILE_OPTION,
    ...SETTINGS_OPTIONS,
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<ConfigFlags>()
  const loaded = loadSettings({
    profile: flags.profile,
    file: flags.config,
    flags: flags.set,
    secrets: 'leave',
  })
  const settings = loaded.explain()
  if (flags.explain !== undefined) return explain(flags.explain, settings, flags.json === true)
  const rows = settings.map(({ path, value, source }) => [path, JSON.stringify(value), source])
  process.stdout.write(
    flags.json === true
      ? `${JSON.stringify({ profile: loaded.profile, settings }, null, 2)}\n`
      : `profile: ${loaded.profile}\n\n${table([['SETTING', 'VALUE', 'FROM'], ...rows])}`,
  )
  for (const message of loaded.warnings) warn('CONFIG_DOUBTFUL', message)
  return EXIT.ok
}

/** Of every setting: 'heartbeat.intervalMs'. */
export function settingNames(): string[] {
  return [...settingsOf(SettingsSchema as SchemaNode)].map(([path]) => path.join('.'))
}

/** Where the texts of `--explain` begin, beyond their own indentation. */
const EXPLAIN_INDENT = 10

function explain(key: string, effective: readonly Explained[], json: boolean): number {
  const found = settingsNamed(SettingsSchema as SchemaNode, key).map((setting) => {
    const { value, source = 'default' } = effective.find(({ path }) => path === setting.path) ?? {}
    return { ...setting, value: value ?? null, source }
  })
  if (found.length === 0) {
    const names = settingNames()
    const sections = names.map((name) => name.slice(0, name.lastIndexOf('.')))
    const ending = names.filter((name) => name.endsWith(`.${key}`)).slice(0, 3)
    const meant = ending.length > 0 ? ending.join(' or ') : nearest(key, [...names, ...sections])
    const hint = meant === undefined ? '`tunnel config` lists them' : `did you mean ${meant}?`
    throw new UsageError(`there is no setting "${key}"; ${hint}`)
  }
  const shown = (value: unknown): string => (value === undefined ? 'none' : JSON.stringify(value))
  if (json) process.stdout.write(`${JSON.stringify(found, null, 2)}\n`)
  else {
    const texts = found.map((setting) =>
      [
        `${setting.path} = ${shown(setting.value)}`,
        `  meaning   ${setting.meaning}`,
        ...(setting.unit === undefined ? [] : [`  unit      ${setting.unit}`]),
        `  default   ${shown(setting.default)}`,
        `  allowed   ${setting.allowed}`,
        `  from      ${setting.source}`,
        `  variable  ${setting.variables.join(', ')}`,
        '',
      ].join('\n'),
    )
    tell(texts.join('\n'), process.stdout, EXPLAIN_INDENT)
  }
  return EXIT.ok
}
