import { createHash } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addressOf } from '../../dial/addresses.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { makeFolder } from '../../protocol/node/folders.ts'

/** What a program that is let in reads first, before any frame. */
export const WELCOME = Buffer.from([1])

/** Claims of a token by which the proxy decides what it may do: programs that share a link have the same. */
const CLAIMS = ['iss', 'sub', 'tier', 'roles'] as const

/** Names that are no other name of a socket. */
const SOCKET = /^[0-9a-f]{16}\.sock$/

/** The folder of this user's sockets, which no other user may enter. */
function folder(env: NodeJS.ProcessEnv): string {
  const own = env.XDG_RUNTIME_DIR
  // By number: in a container a user id may have no name, and asking for it would throw.
  return own
    ? join(own, 'ssh-websocket-tunnel')
    : join(tmpdir(), `ssh-websocket-tunnel-${process.getuid?.()}`)
}

/**
 * Where `tunnel up` listens for programs that reach the proxy at `url` with `token`: the same for every token of the same user, so that
 * a token may be renewed meanwhile.
 */
export function socketPath(url: string, token: string, env: NodeJS.ProcessEnv = process.env): string {
  return named(env, [addressOf(url).link, claimsOf(token)])
}

/** Another name of that socket, for programs that would have to run this command to get a token. */
export function commandPath(
  url: string,
  command: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): string {
  return named(env, [addressOf(url).link, command], 'command-')
}

/** Every place where `tunnel up` listens, or has listened. */
export function socketPaths(env: NodeJS.ProcessEnv = process.env): string[] {
  const dir = folder(env)
  if (!isOwnFolder(dir)) return []
  return readdirSync(dir)
    .filter((name) => SOCKET.test(name))
    .map((name) => join(dir, name))
}

function named(env: NodeJS.ProcessEnv, key: unknown, prefix = ''): string {
  const hash = createHash('sha256').update(JSON.stringify(key)).digest('hex')
  return join(folder(env), `${prefix}${hash.slice(0, 16)}.sock`)
}

function claimsOf(token: string): unknown {
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
    return CLAIMS.map((name) => claims[name] ?? null)
  } catch {
    // No JWT: it stands for itself.
    return token
  }
}

/**
 * Makes sure that `path`'s folder is there and this user's alone.
 * @throws {TunnelError} FORBIDDEN
 */
export function prepareFolder(path: string): void {
  const dir = join(path, '..')
  makeFolder(dir)
  if (!isOwnFolder(dir)) {
    throw new TunnelError('FORBIDDEN', `the folder ${dir} can be entered by other users`, { hop: 'client' })
  }
}

/** A socket in somebody else's folder may be a trap. */
export function isOwn(path: string): boolean {
  return isOwnFolder(join(path, '..'))
}

function isOwnFolder(dir: string): boolean {
  try {
    const found = lstatSync(dir)
    return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o077) === 0
  } catch {
    return false
  }
}
