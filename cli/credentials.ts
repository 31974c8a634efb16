import { readFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { ConfigError } from '../config/errors.ts'
import { isProfile, unknownProfile } from '../config/profiles.ts'
import { defaultStateDir, readSecrets, type Secrets, secretsFile } from '../config/secrets.ts'
import { mistrust } from '../config/trust.ts'
import { addressOf } from '../dial/addresses.ts'
import type { TokenProvider } from '../dial/token.ts'
import { signToken } from '../plugins/auth/tokens.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { AdvisedError, UsageError } from './failure.ts'

export const DEFAULT_URL = 'http://127.0.0.1:3001'

/** How long a token that the CLI signs for itself lives; a new one is signed for each use, so no session ends with it. */
const OWN_TOKEN_SECONDS = 600

export interface Access {
  urls: [string, ...string[]]
  /** As it was given, or what gives a fresh one for each use; throws TOKEN_MISSING. */
  token: TokenProvider
  profile?: string
}

/** The options by which every command reaches a proxy; what is absent comes from the environment. */
export interface AccessOptions {
  url?: string | string[] | undefined
  token?: string | undefined
  profile?: string | undefined
}

export function accessFrom(options: AccessOptions, env: NodeJS.ProcessEnv = process.env): Access {
  for (const name of ['url', 'token', 'profile'] as const) {
    // An unset variable in a script; what it would fall back to is somebody else's, or nobody's.
    if ([options[name]].flat().includes('')) throw new UsageError(`--${name} is given without a value`)
  }
  const given = [options.url ?? env.TUNNEL_URL ?? []].flat().flatMap((text) => text.split(/[\s,]+/))
  const [first = DEFAULT_URL, ...more] = given.filter((url) => url !== '')
  const urls: [string, ...string[]] = [checkUrl(first), ...more.map(checkUrl)]
  const access: Access = { urls, token: tokenSource(options.token, urls, env) }
  const profile = options.profile ?? env.TUNNEL_PROFILE
  if (profile && !isProfile(profile)) throw new ConfigError([unknownProfile(profile)], 'client')
  if (profile) access.profile = profile
  return access
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

function tokenSource(given: string | undefined, urls: string[], env: NodeJS.ProcessEnv): TokenProvider {
  const token = given ?? env.TUNNEL_TOKEN
  if (token) return token.trim()
  const file = env.TUNNEL_TOKEN_FILE
  // Read for each use: whoever renews the token writes it there.
  if (file) return async () => readTokenFile(file)
  return async () => signOwnToken(urls, env)
}

function readTokenFile(file: string): string {
  let token: string
  let reason: string | undefined
  try {
    reason = mistrust(file)
    token = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    throw new TunnelError('TOKEN_MISSING', `cannot read the token file ${file}`, { cause, hop: 'client' })
  }
  // Whoever can write to the file decides as whom, and so to which machines, its reader connects.
  if (reason === undefined && token === '') reason = 'is empty'
  if (reason !== undefined)
    throw new TunnelError('TOKEN_MISSING', `the token file ${file} ${reason}`, { hop: 'client' })
  return token
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
    throw new AdvisedError('TOKEN_MISSING', message, 'start `tunnel server` first, or give --url and --token')
  }
  return signToken(secrets.jwtSecret, {
    sub: ownName(env),
    tier: 'enterprise',
    ttlSeconds: OWN_TOKEN_SECONDS,
  })
}
