import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Environment } from './layers.ts'

const NAME = 'ssh-websocket-tunnel'

/** The person's home folder; undefined where there is none, as for a user id without an account in a container. */
export function homeFolder(env: Environment = process.env): string | undefined {
  if (env.HOME) return env.HOME
  try {
    // An empty HOME is handed on as it is.
    return homedir() || undefined
  } catch {
    return undefined
  }
}

/** Where state is kept when no setting says so (XDG Base Directory Specification). @throws {TunnelError} CONFIG_INVALID */
export function defaultStateDir(env: Environment = process.env): string {
  const base = baseFolder(env.XDG_STATE_HOME, env, ['.local', 'state'])
  if (base !== undefined) return join(base, NAME)
  const message = 'there is no home folder to keep the state in: set TUNNEL_STATE_DIR, or HOME'
  throw new TunnelError('CONFIG_INVALID', message, { hop: 'client' })
}

/** Where what a person configures is kept, by the same specification; undefined where there is no home folder. */
export function configDir(env: Environment = process.env): string | undefined {
  const ofWindows = process.platform === 'win32' ? env.APPDATA : undefined
  const base = ofWindows || baseFolder(env.XDG_CONFIG_HOME, env, ['.config'])
  return base === undefined ? undefined : join(base, NAME)
}

function baseFolder(xdg: string | undefined, env: Environment, below: string[]): string | undefined {
  // A relative one is to be ignored, the specification says.
  if (xdg !== undefined && isAbsolute(xdg)) return xdg
  const home = homeFolder(env)
  return home === undefined ? undefined : join(home, ...below)
}
