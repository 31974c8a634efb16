import { Command, CommanderError, Help } from 'commander'
import { parseTarget as readTarget } from '../protocol/codec/target.ts'
import type { AccessOptions } from './credentials.ts'
import { type Definition, optionsOf } from './definition.ts'
import { UsageError } from './failure.ts'
import { columnsOf } from './output.ts'
import { fold, refold, tell } from './prose.ts'

export interface CommonOptions extends AccessOptions {
  json?: boolean
  verbose?: boolean
}

/** Takes what follows the command's name, and answers with the exit status. */
export type Run = (argv: string[]) => Promise<number>

/** What each file of `commands/` exports. */
export interface CommandModule {
  run: Run
  definition: Definition
}

/** Beside less than this, in columns, a description would be a tall pillar: it has lines of its own. */
const MIN_BESIDE = 40
const BELOW_INDENT = 6

/** Whose help fits the terminal, also a narrow one, and which leaves errors to the caller. */
export function styled(made: Command): Command {
  return made
    .configureOutput({ outputError: () => {}, writeOut: (text) => tell(text) })
    .configureHelp({ formatItem: formatItem })
    .showSuggestionAfterError(true)
}

function formatItem(this: Help, term: string, termWidth: number, text: string, helper: Help): string {
  const width = this.helpWidth ?? 80
  if (text === '' || width - termWidth >= MIN_BESIDE)
    return Help.prototype.formatItem.call(this, term, termWidth, text, helper)
  return `  ${term}\n${fold(' '.repeat(BELOW_INDENT) + text, width)}`
}

/** A command whose mistakes are thrown as UsageError. */
export function command(definition: Definition): Command {
  const { name, usage = '', does, examples, notes = [], passesThrough = false } = definition
  const made = styled(new Command(`tunnel ${name}`))
    .usage(usage)
    .description(does)
    .exitOverride()
    .passThroughOptions(passesThrough)
    .addHelpText(
      'after',
      `\nExample${examples.length > 1 ? 's' : ''}:\n${examples.map((line) => `  $ ${line}`).join('\n')}`,
    )
  for (const note of notes) made.addHelpText('after', () => `\n${refold(note, columnsOf())}`)
  for (const { name: argument, does: text } of definition.arguments ?? []) made.argument(argument, text)
  for (const { flags, does: text, default: value, repeats = false } of optionsOf(definition)) {
    if (repeats) made.option(flags, text, collect)
    else made.option(flags, text, value)
  }
  return made
}

/** What `--help` shows, on stdout. */
export function showHelp(definition: Definition): void {
  command(definition).outputHelp()
}

/** Parses `argv`; answers undefined when help was asked for and shown. */
export function parse(made: Command, argv: string[]): Command | undefined {
  try {
    return made.parse(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    const text = error.message.replace(/^error: /, '').replace('\n', ' ')
    const usage = `${made.name()} ${made.usage()}`
    // The name of what is missing alone says little, and so does how many there are too many.
    if (error.code === 'commander.missingArgument') throw new UsageError(`${text}: ${usage}`)
    if (error.code !== 'commander.excessArguments') throw new UsageError(text)
    throw new UsageError(`unexpected argument "${made.args[made.registeredArguments.length]}": ${usage}`)
  }
}

/** For options that may be given several times. */
function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value]
}

/** 'HOST:PORT', checked. */
export function parseTarget(text: string): string {
  if (readTarget(text) !== undefined) return text
  throw new UsageError(`an address is HOST:PORT, such as 127.0.0.1:22, not "${text}"`)
}
