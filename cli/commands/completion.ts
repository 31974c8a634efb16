import { existsSync, readFileSync } from 'node:fs'
import { PROFILES } from '../../config/profiles.ts'
import { askMachineNames } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { clientFilePath, readClientFile } from '../contexts/client-file.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { COMPLETION_FILES, referenceFiles } from '../reference/files.ts'
import { SHELLS } from '../reference/shell.ts'

const KINDS = ['machine', 'context', 'profile', 'setting'] as const

/** How long a person who pressed Tab waits for the names of machines, in ms. */
const PATIENCE_MS = 1_500

export const definition: Definition = {
  name: 'completion',
  does: [
    'Prints the script by which a shell completes commands, options, and the names of machines, contexts, profiles',
    'and settings. With --values it prints all values of one kind, which is how the script looks up names.',
  ].join(' '),
  examples: [
    'source <(tunnel completion bash)     # in ~/.bashrc',
    'source <(tunnel completion zsh)      # in ~/.zshrc, after compinit',
    'tunnel completion fish > ~/.config/fish/completions/tunnel.fish',
  ],
  arguments: [{ name: '[shell]', does: SHELLS.join(', '), values: SHELLS }],
  options: [{ flags: '--values <kind>', does: KINDS.join(', '), values: KINDS }],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { values?: string }>()
  const [name] = made.args
  if (options.values !== undefined) {
    const kind = KINDS.find((known) => known === options.values)
    if (kind === undefined || name !== undefined)
      throw new UsageError(`--values takes one of ${KINDS.join(', ')}, and stands alone`)
    const names = await namesOf(kind, options)
    process.stdout.write(
      options.json === true ? `${JSON.stringify(names)}\n` : names.map((each) => `${each}\n`).join(''),
    )
    return EXIT.ok
  }
  const shell = SHELLS.find((known) => known === name)
  if (shell === undefined) throw new UsageError(`name the shell: tunnel completion ${SHELLS.join('|')}`)
  const script = await scriptOf(COMPLETION_FILES[shell])
  process.stdout.write(options.json === true ? `${JSON.stringify({ shell, script })}\n` : script)
  return EXIT.ok
}

/** As the build wrote it: a shell reads it whenever it starts. Beside the sources there is none. */
async function scriptOf(name: string): Promise<string> {
  const built = new URL(`../../${name}`, import.meta.url)
  if (existsSync(built)) return readFileSync(built, 'utf8')
  return (await referenceFiles()).get(name)!
}

/** Nothing where they cannot be had: in the middle of a line an error would be in the way. */
async function namesOf(kind: (typeof KINDS)[number], options: CommonOptions): Promise<string[]> {
  if (kind === 'profile') return [...PROFILES]
  if (kind === 'setting') return (await import('./config.ts')).settingNames()
  try {
    if (kind === 'context') return [...readClientFile(clientFilePath()).contexts.keys()]
    const late = new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('late')), PATIENCE_MS).unref()
    })
    return await Promise.race([askMachineNames(accessFrom(options), PATIENCE_MS), late])
  } catch {
    return []
  }
}
