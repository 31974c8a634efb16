import { resolve } from 'node:path'
import { readOwnSecret } from '../../client/tokens/file.ts'
import { ConfigError } from '../../config/errors.ts'
import { isProfile, unknownProfile } from '../../config/profiles.ts'
import { addressOf } from '../../dial/addresses.ts'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import {
  type ClientFile,
  CONTEXT_NAME_RULE,
  type Context,
  changeClientFile,
  clientFilePath,
  isContextName,
  readClientFile,
  refused,
  unknownContext,
} from '../contexts/client-file.ts'
import { dropTokens, keepToken } from '../contexts/keep-token.ts'
import { wordsOf } from '../contexts/words.ts'
import { type Definition, PROFILE_OPTION, REACH_OPTIONS } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { tell } from '../prose.ts'
import { checkTransport } from '../reach.ts'
import { table } from '../table.ts'
import { warn } from '../warning.ts'

export const definition: Definition = {
  name: 'use',
  does: [
    'Chooses the proxy that commands use by default, and keeps how to reach it, so that editors and other',
    'programs need no environment. With options it makes or changes the context NAME; without a name it lists the',
    'contexts. They are kept in ~/.config/ssh-websocket-tunnel/config.json. Flags and the environment take',
    'precedence.',
  ].join(' '),
  examples: [
    'tunnel use',
    'tunnel use work --url https://tunnel.example.com --token-file ~/.tunnel-token',
    "tunnel use work --token-command 'pass show tunnel'",
    'tunnel use private',
    'tunnel use --remove work',
  ],
  reaches: false,
  arguments: [{ name: '[name]', does: 'of a context', values: 'context' }],
  options: [
    { flags: '--url <url>', does: 'address of the proxy; again for each further replica', repeats: true },
    {
      flags: '--token-file <file>',
      does: 'where the token is read, for each use; - keeps the one on stdin',
      values: 'file',
    },
    { flags: '--token-command <command>', does: 'a program that prints the token; no shell reads it' },
    PROFILE_OPTION,
    ...REACH_OPTIONS,
    { flags: '--remove <name>', does: 'forget a context', values: 'context' },
    { flags: '--none', does: 'use no context' },
  ],
}

interface UseFlags extends CommonOptions {
  url?: string[]
  tokenFile?: string
  tokenCommand?: string
  remove?: string
  none?: boolean
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<UseFlags>()
  const [name] = made.args
  const path = clientFilePath()
  const show = (file: ClientFile, text: string): number => {
    if (flags.json === true) process.stdout.write(asJson(file, path))
    else tell(text)
    return EXIT.ok
  }
  const isChange =
    flags.url ?? flags.tokenFile ?? flags.tokenCommand ?? flags.profile ?? flags.ca ?? flags.transport
  if ([name, flags.remove, flags.none].filter((given) => given !== undefined).length > 1)
    throw new UsageError('give a name, --remove or --none, and no two of them')
  if (name === undefined && isChange !== undefined)
    throw new UsageError('name the context: tunnel use NAME --url …')
  if (name === undefined && flags.remove === undefined && flags.none !== true) {
    const file = readClientFile(path)
    return show(file, listing(file))
  }
  if (path === undefined)
    throw refused('there is no home folder to keep contexts in: set HOME or XDG_CONFIG_HOME')
  const file = await changeClientFile(path, await changeFor(name, flags, path))
  if (flags.remove !== undefined) dropTokens(path, flags.remove)
  const { current } = file
  const now = current === undefined ? 'no context is used now' : `${current} is used now`
  if (flags.remove !== undefined) return show(file, `${flags.remove} is forgotten; ${now}\n`)
  if (current !== undefined) warnOfToken(file.contexts.get(current))
  const urls = current === undefined ? '' : `: ${file.contexts.get(current)?.urls.join(', ')}`
  return show(file, `${now}${urls}\n`)
}

type Change = (file: ClientFile) => void

async function changeFor(name: string | undefined, flags: UseFlags, path: string): Promise<Change> {
  if (flags.none === true) return (file) => void delete file.current
  if (flags.remove !== undefined) return removal(flags.remove)
  if (!isContextName(name!)) throw new UsageError(`"${name}" is not a valid name: ${CONTEXT_NAME_RULE}`)
  const given = await givenBy(name!, flags, path)
  return (file) => {
    const known = file.contexts.get(name!)
    if (known === undefined && Object.keys(given).length === 0) throw refused(unknownContext(name!, file))
    const urls = given.urls ?? known?.urls
    if (urls === undefined) throw new UsageError(`say where the proxy of "${name}" is: --url URL`)
    const context = { ...known, ...given, urls }
    // One takes the place of the other.
    if (given.tokenFile !== undefined) delete context.tokenCommand
    if (given.tokenCommand !== undefined) delete context.tokenFile
    if ((given.tokenFile ?? given.tokenCommand) !== undefined) delete context.loginFile
    file.contexts.set(name!, context)
    file.current = name!
  }
}

function removal(name: string): Change {
  return (file) => {
    if (!file.contexts.delete(name)) throw refused(unknownContext(name, file))
    if (file.current === name) delete file.current
  }
}

/** What the flags say of a context, checked. */
async function givenBy(name: string, flags: UseFlags, path: string): Promise<Partial<Context>> {
  const given: Partial<Context> = {}
  for (const option of ['url', 'tokenFile', 'tokenCommand', 'profile', 'ca', 'transport'] as const) {
    if ([flags[option]].flat().includes('')) throw new UsageError('an option is given without a value')
  }
  if (flags.url !== undefined) {
    for (const url of flags.url) addressOf(url)
    given.urls = flags.url as Context['urls']
  }
  if (flags.tokenFile !== undefined && flags.tokenCommand !== undefined)
    throw new UsageError('give --token-file or --token-command, not both of them')
  if (flags.tokenFile === '-') given.tokenFile = await keepToken(path, name, process.stdin)
  else if (flags.tokenFile !== undefined) given.tokenFile = resolve(flags.tokenFile)
  if (flags.tokenCommand !== undefined) given.tokenCommand = wordsOf(flags.tokenCommand)
  if (flags.profile !== undefined) given.profile = checkProfile(flags.profile)
  if (flags.ca !== undefined) given.ca = resolve(flags.ca)
  if (flags.transport !== undefined) given.transport = checkTransport(flags.transport)
  return given
}

function checkProfile(name: string): string {
  if (isProfile(name)) return name
  throw new ConfigError([unknownProfile(name)], 'client')
}

/** The file may be written later; that it could not be used as it is now is said now. */
function warnOfToken(context: Context | undefined): void {
  if (context?.tokenFile === undefined) return
  try {
    readOwnSecret(context.tokenFile)
  } catch (error) {
    const { code, message } = asTunnelError(error, 'client')
    warn(code, message)
  }
}

function tokenOf({ tokenFile, tokenCommand, loginFile }: Context): string {
  if (loginFile !== undefined) return 'login'
  if (tokenCommand !== undefined) return `command ${tokenCommand[0]}`
  return tokenFile ?? '-'
}

function listing({ current, contexts }: ClientFile): string {
  if (contexts.size === 0) return 'no context yet: tunnel use NAME --url URL --token-file FILE makes one\n'
  const rows = [...contexts].map(([name, context]) => [
    name === current ? '*' : '',
    ...[name, context.urls.join(' '), tokenOf(context), context.profile ?? '-'],
  ])
  return table([['', 'CONTEXT', 'URL', 'TOKEN', 'PROFILE'], ...rows])
}

function asJson(file: ClientFile, path: string | undefined): string {
  const contexts = Object.fromEntries(file.contexts)
  return `${JSON.stringify({ file: path ?? null, current: file.current ?? null, contexts }, null, 2)}\n`
}
