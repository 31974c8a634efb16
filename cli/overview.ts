import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { parse } from './command.ts'
import { COMMANDS, isCommandName } from './commands.ts'
import { EXIT, UsageError } from './failure.ts'

export function version(): string {
  // dist/cli and cli are at different depths below package.json.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const text = readFileSync(new URL(path, import.meta.url), 'utf8')
      return (JSON.parse(text) as { version: string }).version
    } catch {
      // The other depth.
    }
  }
  return 'unknown'
}

/** `tunnel` with no command, or with one that there is not: help, version, suggestion. */
export async function run(argv: string[]): Promise<number> {
  const program = new Command('tunnel')
    .description('Your stock ssh to your machines behind NAT, through a proxy of your own.')
    .version(version(), '--version')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true)
    .addHelpText(
      'after',
      '\nThree commands to begin with:\n  $ tunnel server\n  $ tunnel agent --machine home\n  $ tunnel ssh home',
    )
  for (const [name, { summary }] of Object.entries(COMMANDS)) program.command(name).description(summary)
  if (argv.length === 0) {
    process.stderr.write(program.helpInformation())
    return EXIT.usage
  }
  if (argv[0] === 'help' && argv[1] !== undefined && isCommandName(argv[1])) {
    return (await COMMANDS[argv[1]].load()).run(['--help'])
  }
  if (parse(program, argv) !== undefined) throw new UsageError(`unknown command "${argv[0]}"`)
  return EXIT.ok
}
