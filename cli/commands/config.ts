import { loadSettings } from '../../config/index.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Definition, PROFILE_OPTION, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { table } from '../output.ts'

interface ConfigFlags extends CommonOptions {
  config?: string
  set?: string[]
}

export const definition: Definition = {
  name: 'config',
  does: [
    'Shows the settings that hold, and where each came from: default, profile, file, environment or flag.',
    'Secrets are masked. Mistakes are named all at once.',
  ].join(' '),
  examples: [
    'tunnel config',
    'tunnel config --profile unstable-network',
    'tunnel config --config tunnel.json --json',
  ],
  reaches: false,
  options: [PROFILE_OPTION, ...SETTINGS_OPTIONS],
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
  if (flags.json === true) {
    process.stdout.write(`${JSON.stringify({ profile: loaded.profile, settings }, null, 2)}\n`)
    return EXIT.ok
  }
  const rows = settings.map(({ path, value, source }) => [path, JSON.stringify(value), source])
  process.stdout.write(`profile: ${loaded.profile}\n\n${table([['SETTING', 'VALUE', 'FROM'], ...rows])}`)
  for (const warning of loaded.warnings) process.stderr.write(`warning: ${warning}\n`)
  return EXIT.ok
}
