import { packageVersion } from '../../dial/software.ts'
import { bashCompletion } from './bash.ts'
import { allEntries } from './entries.ts'
import { fishCompletion } from './fish.ts'
import { commandPage, overviewPage, pageName } from './man.ts'
import { type Shell, shellCommands } from './shell.ts'
import { zshCompletion } from './zsh.ts'

/** Where each shell looks for it by itself, in a folder of its own. */
export const COMPLETION_FILES: Readonly<Record<Shell, string>> = {
  bash: 'completion/tunnel.bash',
  zsh: 'completion/_tunnel',
  fish: 'completion/tunnel.fish',
}

/** Man pages and the completions for shells, by their names in dist/; the build writes them. */
export async function referenceFiles(): Promise<Map<string, string>> {
  const entries = await allEntries()
  const version = packageVersion()
  const commands = shellCommands(entries)
  const files = new Map<string, string>([
    ['man/tunnel.1', overviewPage(entries, version)],
    [COMPLETION_FILES.bash, bashCompletion(commands)],
    [COMPLETION_FILES.zsh, zshCompletion(commands)],
    [COMPLETION_FILES.fish, fishCompletion(commands)],
  ])
  for (const entry of entries)
    files.set(`man/${pageName(entry.definition.name)}.1`, commandPage(entry, version))
  return files
}
