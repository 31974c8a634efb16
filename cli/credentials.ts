import { userInfo } from 'node:os'
import { tokenFile as providerOfFile, readTokenFile } from '../client/tokens/file.ts'
import { ConfigError } from '../config/errors.ts'
import { defaultStateDir } from '../config/folders.ts'
import { isProfile, unknownProfile } from '../config/profiles.ts'
import { readSecrets, type Secrets, secretsFile } from '../config/secrets.ts'
import { addressOf } from '../dial/addresses.ts'
import type { TokenProvider } from '../dial/token.ts'
import { subjectOf } from '../plugins/auth/subject.ts'
import { signToken } from '../plugins/auth/tokens.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import {
  type Context,
  clientFilePath,
  readClientFile,
  refused,
  unknownContext,
} from './contexts/client-file.ts'
import { wordsOf } from './contexts/words.ts'
import { UsageError } from './failure.ts'
import { type GivenSetting, givenSettings } from './reach.ts'
import { whileRunning } from './while-running.ts'

export const DEFAULT_URL = 'http://127.0.0.1:3001'

/** How long a token that the CLI signs for itself lives; a new one is signed for each use, so no session ends with it. */
const OWN_TOKEN_SECONDS = 600

export interface Access {
  urls: [string, ...string[]]
  /** As it was given, or what gives a fresh one for each use; throws TOKEN_MISSING. */
  token: TokenProvider
  /** Nobody gave a token: this computer's own is meant, where it has one. */
  isTokenless: boolean
  /** What the token is got with, where that is a command. */
  tokenCommand?: readonly string[]
  profile?: string
  /** The name of the context that any of this came from. */
  context?: string
  /** Settings of the way there, flags' and the context's. */
  given: readonly GivenSetting[]
}

/** The options by which every command reaches a proxy; what is absent comes from the environment, then from a context. */
export interface AccessOptions {
  url?: string | string[] | undefined
  token?: string | undefined
  context?: string | undefined
  profile?: string | undefined
  ca?: string | undefined
  transport?: string | undefined
}

/** @throws {UsageError | TunnelError} for what is given wrongly, and for a configuration file that is broken */
export function accessFrom(options: AccessOptions, env: NodeJS.ProcessEnv = process.env): Access {
  return accessBy(options, env, (given) => chosenContext(given, env))
}

/** The same for the agent of `machine`, which may have been enrolled here with a code. */
export function agentAccessFrom(
  options: AccessOptions,
  machine: string,
  env: NodeJS.ProcessEnv = process.env,
): Access {
  return accessBy(options, env, (given) => {
    const enrolled =
      given.context === undefined ? readClientFile(clientFilePath(env)).agents.get(machine) : undefined
    return enrolled === undefined ? chosenContext(given, env) : { context: enrolled }
  })
}

/** What flags and environment say. */
interface Given {
  urls: string[]
  context: string | undefined
}

/** A context, and its name where it has one. */
interface Chosen {
  context: Context
  name?: string
}

function accessBy(
  options: AccessOptions,
  env: NodeJS.ProcessEnv,
  choose: (given: Given) => Chosen | undefined,
): Access {
  for (const name of ['url', 'token', 'context', 'profile', 'ca', 'transport'] as const) {
    // An unset variable in a script; what it would fall back to is somebody else's, or nobody's.
    if ([options[name]].flat().includes('')) throw new UsageError(`--${name} is given without a value`)
  }
  const urls = [options.url ?? env.TUNNEL_URL ?? []].flat().flatMap((text) => text.split(/[\s,]+/))
  const given: Given = {
    urls: urls.filter((url) => url !== '').map(checkUrl),
    context: options.context ?? (env.TUNNEL_CONTEXT || undefined),
  }
  const hasToken = Boolean(
    options.token ?? (env.TUNNEL_TOKEN || env.TUNNEL_TOKEN_FILE || env.TUNNEL_TOKEN_COMMAND),
  )
  // With both at hand a configuration file that is broken stops nobody.
  const isComplete = given.urls.length > 0 && hasToken && given.context === undefined
  const chosen = isComplete ? undefined : choose(given)
  const [first = DEFAULT_URL, ...more] = given.urls.length > 0 ? given.urls : (chosen?.context.urls ?? [])
  const way = chosen === undefined || !areOf([first, ...more], chosen.context) ? {} : chosen.context
  const access: Access = {
    urls: [first, ...more],
    token: '',
    isTokenless: false,
    given: givenSettings(options, way, env),
  }
  const own = givenToken(options.token, env)
  const { tokenCommand } = chosen?.context ?? {}
  if (own === undefined && tokenCommand !== undefined && areOf(access.urls, chosen!.context))
    access.tokenCommand = tokenCommand
  const token = own ?? contextToken(access.urls, chosen)
  access.isTokenless = token === undefined
  access.token = token ?? (async () => signOwnToken(access.urls, env))
  const profile = options.profile ?? (env.TUNNEL_PROFILE || chosen?.context.profile)
  if (profile !== undefined && !isProfile(profile)) throw new ConfigError([unknownProfile(profile)], 'client')
  if (profile !== undefined) access.profile = profile
  if (chosen?.name !== undefined) access.context = chosen.name
  return access
}

/** The context that is named, or else the current one, unless the address given is that of another proxy. */
function chosenContext({ urls, context: name }: Given, env: NodeJS.ProcessEnv): Chosen | undefined {
  const file = readClientFile(clientFilePath(env))
  if (name !== undefined) {
    const named = file.contexts.get(name)
    if (named === undefined) throw refused(unknownContext(name, file))
    return { context: named, name }
  }
  const current = file.current === undefined ? undefined : file.contexts.get(file.current)
  if (current === undefined || !areOf(urls, current)) return undefined
  return { context: current, name: file.current! }
}

/** Whether all these addresses are a context's own, however they are written. */
function areOf(urls: readonly string[], context: Context): boolean {
  const own = new Set(context.urls.map((url) => addressOf(url).api))
  return urls.every((url) => own.has(addressOf(url).api))
}

function checkUrl(url: string): string {
  try {
    addressOf(url)
    return url
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
}

export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url)
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

function givenToken(given: string | undefined, env: NodeJS.ProcessEnv): TokenProvider | undefined {
  const token = given ?? env.TUNNEL_TOKEN
  if (token) return token.trim()
  const file = env.TUNNEL_TOKEN_FILE
  // Read for each use: whoever renews the token writes it there.
  if (file) return async () => readTokenFile(file)
  const command = env.TUNNEL_TOKEN_COMMAND
  return command ? commandProvider(wordsOf(command, 'TUNNEL_TOKEN_COMMAND')) : undefined
}

/** Loaded when it is run: most commands have a token. */
function commandProvider(words: readonly string[]): TokenProvider {
  return async () => {
    const { tokenOfCommand } = await import('../client/tokens/command.ts')
    return whileRunning((over) => tokenOfCommand(words, undefined, over))
  }
}

/** A token goes to the addresses that stand beside it, and to no other. */
function contextToken(urls: readonly string[], chosen: Chosen | undefined): TokenProvider | undefined {
  if (chosen === undefined) return undefined
  const { tokenFile, tokenCommand, loginFile } = chosen.context
  if ((tokenFile ?? tokenCommand ?? loginFile) === undefined) return undefined
  if (!areOf(urls, chosen.context)) {
    const whose = chosen.name === undefined ? 'this machine' : `the context "${chosen.name}"`
    const message = `the token of ${whose} is not for ${urls.join(', ')}`
    const suggestion = 'leave --url out, or give the token for it'
    return async () => {
      throw new TunnelError('TOKEN_MISSING', message, { hop: 'client', suggestion })
    }
  }
  if (loginFile !== undefined)
    return async () => (await import('./login/kept-login.ts')).freshToken(loginFile)
  return tokenCommand === undefined ? providerOfFile(tokenFile!) : commandProvider(tokenCommand)
}

/** Who runs this; in a container a user id may have no name. */
export function ownName(env: NodeJS.ProcessEnv = process.env): string {
  try {
    return userInfo().username
  } catch {
    return env.USER || env.LOGNAME || `uid-${process.getuid?.()}`
  }
}

/**
 * Whoever can read the development secret of a proxy on this machine may sign any token; so the quick start needs none.
 * Only for loopback addresses: another host's proxy has another secret.
 */
function signOwnToken(urls: string[], env: NodeJS.ProcessEnv): string {
  if (!urls.every(isLoopback)) throw new TunnelError('TOKEN_MISSING', 'no token was given', { hop: 'client' })
  const dir = env.TUNNEL_STATE_DIR || defaultStateDir(env)
  let secrets: Secrets | undefined
  try {
    secrets = readSecrets(dir)
  } catch (cause) {
    throw new TunnelError('TOKEN_MISSING', `no token was given, and ${secretsFile(dir)} cannot be read`, {
      cause,
      hop: 'client',
    })
  }
  if (secrets === undefined) {
    const message = `no token was given, and you have not run a proxy on this computer (there is no secret in ${dir})`
    const suggestion = 'start `tunnel server` first, or give --url and --token'
    throw new TunnelError('TOKEN_MISSING', message, { hop: 'client', suggestion })
  }
  return signToken(secrets.jwtSecret, {
    sub: subjectOf(ownName(env)),
    tier: 'enterprise',
    ttlSeconds: OWN_TOKEN_SECONDS,
  })
}
