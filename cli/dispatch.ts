import { COMMANDS, type CommandName, commandOf, mistypedPair } from './commands.ts'
import { ACCESS_OPTIONS, namesOf, type OptionDefinition, OUTPUT_OPTIONS } from './definition.ts'
import { describeFailure, EXIT, renderFailure, UsageError } from './failure.ts'
import { columnsOf } from './output.ts'
import { fold } from './prose.ts'
import { warnAs } from './warning.ts'

// Nothing heavy is imported here: each command loads what it needs, and `tunnel stdio` stands between ssh and its first byte.

/** Options that may also stand before the command's name, as in `tunnel --url U machines`. */
const LEADING = namesIn([...ACCESS_OPTIONS, ...OUTPUT_OPTIONS], '(=|$)')
const WITH_VALUE = namesIn(ACCESS_OPTIONS, '$')

function namesIn(options: readonly OptionDefinition[], end: string): RegExp {
  return new RegExp(`^--(${options.map((option) => namesOf(option).long).join('|')})${end}`)
}

function splitLeading(argv: string[]): { leading: string[]; rest: string[] } {
  let end = 0
  while (end < argv.length && LEADING.test(argv[end]!)) {
    end += WITH_VALUE.test(argv[end]!) ? 2 : 1
  }
  return { leading: argv.slice(0, end), rest: argv.slice(end) }
}

/**
 * Runs one command line, of which it tells the person all that goes wrong.
 * @param outputIsGone whether the command has been told that its output cannot be written
 * @returns the exit status
 */
export async function dispatch(argv: string[], outputIsGone = () => false): Promise<number> {
  const { leading, rest } = splitLeading(argv)
  const { command, rest: own } = commandOf(rest)
  try {
    const mistyped = mistypedPair(rest)
    if (mistyped !== undefined) throw new UsageError(mistyped)
    if (command === undefined) return await (await import('./overview.ts')).run(rest)
    warnAs({ command: `tunnel ${command}`, json: ownOptions(command, argv).includes('--json') })
    const { run } = await COMMANDS[command].load()
    return await run([...leading, ...own])
  } catch (error) {
    // The caller tells the person that the output cannot be written.
    if (outputIsGone()) return EXIT.failure
    return tellFailure(argv, error)
  }
}

/** Tells the person of an error as `argv` wants it told. @returns the exit status */
export function tellFailure(argv: string[], error: unknown): number {
  const command = commandIn(argv)
  const failure = describeFailure(command === undefined ? 'tunnel' : `tunnel ${command}`, error)
  if (command === 'ssh' || command === 'exec' || command === 'shell')
    failure.exitStatus = remoteStatus(failure.exitStatus)
  const ours = ownOptions(command, argv)
  const style = { json: ours.includes('--json'), verbose: ours.includes('--verbose') }
  const rendered = renderFailure(failure, style)
  const text = style.json ? rendered : fold(rendered, columnsOf(process.stderr))
  // Under ssh the terminal is raw, and its cursor anywhere.
  const isRawTerminal = command === 'stdio' && process.stderr.isTTY
  process.stderr.write(isRawTerminal ? `\r\n${text.replaceAll('\n', '\r\n')}` : text)
  return failure.exitStatus
}

/** The command that `argv` names, if it does. */
export function commandIn(argv: string[]): CommandName | undefined {
  return commandOf(splitLeading(argv).rest).command
}

/** What is ours to read: of `exec` and `ssh`, what stands before the machine, and of all others what is before `--`. */
function ownOptions(command: string | undefined, argv: string[]): string[] {
  if (command !== 'exec' && command !== 'ssh') {
    const end = argv.indexOf('--')
    return end === -1 ? argv : argv.slice(0, end)
  }
  let end = argv.indexOf(command) + 1
  for (; argv[end]?.startsWith('--') && argv[end] !== '--'; end++) {
    if (WITH_VALUE.test(argv[end]!)) end++
  }
  return argv.slice(0, end)
}

/** These pass on the remote status, so all but a mistyped command line is 255, as with ssh. */
function remoteStatus(status: number): number {
  return status === EXIT.usage ? EXIT.usage : EXIT.remote
}
