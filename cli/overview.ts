import { Command } from 'commander'
import { packageVersion } from '../dial/software.ts'
import { parse, styled } from './command.ts'
import { COMMANDS, commandOf, mistypedPair } from './commands.ts'
import { EXIT, UsageError } from './failure.ts'
import { tellAside } from './prose.ts'

/** What people type for what is called otherwise here, or is ssh's own: the rest of a sentence. */
const POINTERS: ReadonlyMap<string, string> = new Map([
  ['connect', '`tunnel ssh MACHINE` gives a prompt'],
  ['scp', '`tunnel cp FILE MACHINE:` copies files, and `tunnel ssh-config --write` lets scp itself work'],
  ['sftp', '`tunnel ssh-config --write` lets `sftp MACHINE.tunnel` work'],
  ['rsync', '`tunnel ssh-config --write` lets `rsync FILE MACHINE.tunnel:` work'],
  ['port-forward', '`tunnel forward PORT:MACHINE:HOST:PORT` forwards a port'],
  ['proxy', '`tunnel socks MACHINE` is a SOCKS proxy, and `tunnel server` starts the proxy itself'],
  ['curl', '`tunnel request http://MACHINE:PORT/path` makes one request'],
  ['run', '`tunnel exec MACHINE -- COMMAND` runs one command'],
  ['context', '`tunnel use` lists contexts, and chooses one'],
  ['contexts', '`tunnel use` lists contexts, and chooses one'],
  ['enroll', '`tunnel machines --enroll NAME` makes a code, and `tunnel agent enroll CODE` takes it'],
  ['watch', '`tunnel machines --watch` shows what is on line'],
  ['version', '`tunnel --version` tells it'],
])

/** `tunnel` with no command, or with one that there is not: help, version, suggestion. */
export async function run(argv: string[]): Promise<number> {
  const program = styled(new Command('tunnel'))
    .description('Your stock ssh to your machines behind NAT, through a proxy of your own.')
    .version(packageVersion(), '-V, --version')
    .exitOverride()
    .addHelpText(
      'after',
      '\nThree commands to begin with:\n  $ tunnel server\n  $ tunnel agent --machine home\n  $ tunnel ssh home',
    )
  for (const [name, { summary }] of Object.entries(COMMANDS))
    program.addCommand(new Command(name).description(summary))
  if (argv.length === 0) {
    tellAside(program.helpInformation({ error: true }))
    return EXIT.usage
  }
  const [first, ...rest] = argv
  if (first === 'help' && rest.length > 0 && rest[0] !== 'help') {
    const { command } = commandOf(rest)
    if (command !== undefined) return (await COMMANDS[command].load()).run(['--help'])
    const mistyped = mistypedPair(rest)
    if (mistyped !== undefined) throw new UsageError(mistyped)
    // What would be said of it without the word help.
    return run(rest)
  }
  const pointer = POINTERS.get(first ?? '')
  if (pointer !== undefined) throw new UsageError(`unknown command "${first}": ${pointer}`)
  if (parse(program, first === 'help' ? ['--help'] : argv) !== undefined)
    throw new UsageError(`unknown command "${first}"`)
  return EXIT.ok
}
