import { Command, CommanderError } from 'commander'
import { parseTarget as readTarget } from '../protocol/codec/target.ts'
import type { AccessOptions } from './credentials.ts'
import { UsageError } from './failure.ts'

export interface CommonOptions extends AccessOptions {
  json?: boolean
  verbose?: boolean
}

/** What each file of `commands/` exports; `argv` is what follows the command's name. Answers with the exit status. */
export type Run = (argv: string[]) => Promise<number>

interface Description {
  /** As the person types it, `tunnel` left out: 'exec <machine> <command...>'. */
  usage: string
  does: string
  /** Lines to copy; at least one. */
  examples: string[]
  /** Whether the command talks to a proxy, and so takes --url, --token and --profile. */
  reaches?: boolean
}

/** A command with the options that all have, whose mistakes are thrown as UsageError. */
export function command({ usage, does, examples, reaches = true }: Description): Command {
  const [name = ''] = usage.split(' ', 1)
  const made = new Command(`tunnel ${name}`)
    .usage(usage.slice(name.length + 1))
    .description(does)
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .showSuggestionAfterError(true)
    .addHelpText(
      'after',
      `\nExample${examples.length > 1 ? 's' : ''}:\n${examples.map((line) => `  $ ${line}`).join('\n')}`,
    )
  if (reaches) {
    made
      .option('--url <url>', 'address of the proxy (or TUNNEL_URL); again for each further replica', collect)
      .option('--token <token>', 'access token (or TUNNEL_TOKEN, TUNNEL_TOKEN_FILE)')
      .option('--profile <name>', 'configuration profile (or TUNNEL_PROFILE)')
  }
  return made
    .option('--json', 'machine-readable output and errors')
    .option('--verbose', 'show the causes of an error')
}

/** Parses `argv`; answers undefined when help was asked for and shown. */
export function parse(made: Command, argv: string[]): Command | undefined {
  try {
    return made.parse(argv, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw new UsageError(error.message.replace(/^error: /, '').replace('\n', ' '))
  }
}

/** For options that may be given several times. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value]
}

/** 'HOST:PORT', checked. */
export function parseTarget(text: string): string {
  if (readTarget(text) !== undefined) return text
  throw new UsageError(`an address is HOST:PORT, such as 127.0.0.1:22, not "${text}"`)
}
