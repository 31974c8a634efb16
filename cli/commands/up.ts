import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { basename } from 'node:path'
import { NEVER_GIVE_UP } from '../../dial/backoff.ts'
import { askToken, type TokenProvider } from '../../dial/token.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Access, accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { tell } from '../prose.ts'
import { clientSettings, environmentOf } from '../reach.ts'
import { unwritable } from '../replace-file.ts'
import { selfCommand } from '../self.ts'
import { signalStatus, stopSignal } from '../stop.ts'
import { findHub } from '../warm/find.ts'
import { Hub } from '../warm/hub.ts'
import { commandPath, prepareFolder, socketPath } from '../warm/place.ts'

interface UpFlags extends CommonOptions {
  foreground?: boolean
}

export const definition: Definition = {
  name: 'up',
  does: [
    'Keeps a link to the proxy in the background, which ssh, stdio, forward and the other commands then share:',
    'they start without dialling the proxy. `tunnel down` ends it, and what uses it goes on by itself.',
  ].join(' '),
  examples: ['tunnel up', 'tunnel up --context work', 'tunnel up --foreground'],
  options: [{ flags: '--foreground', does: 'stay in this terminal, or under a service manager' }],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<UpFlags>()
  if (process.platform === 'win32') throw new UsageError('`tunnel up` needs Unix sockets')
  const access = accessFrom(flags)
  const path = socketPath(access.urls[0], await askToken(access.token))
  const say = (state: 'up' | 'already up', pid: number): void => {
    const { urls } = access
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ state, urls, pid, socket: path })}\n`)
    else tell(`${state}: ${urls.join(', ')} (process ${pid}); \`tunnel down\` ends it\n`)
  }
  const running = await findHub(path)
  if (running !== undefined) {
    say('already up', running)
    return EXIT.ok
  }
  try {
    prepareFolder(path)
  } catch (error) {
    throw error instanceof TunnelError ? error : unwritable(path, error)
  }
  if (flags.foreground !== true) return inBackground(path, flags, access, (pid) => say('up', pid))
  return stay(path, access, () => say('up', process.pid))
}

/** The same provider, which gives no token of anybody whose programs would look for their link at another socket. */
function onlyFor(path: string, { urls, token }: Access): TokenProvider {
  return async (ask) => {
    const fresh = await askToken(token, ask)
    if (socketPath(urls[0], fresh) === path) return fresh
    const message = 'the token is of another user or tier now, or has other roles'
    throw new TunnelError('FORBIDDEN', message, { hop: 'client', suggestion: 'run `tunnel up` again' })
  }
}

async function stay(path: string, access: Access, ready: () => void): Promise<number> {
  const { urls, tokenCommand } = access
  const token = onlyFor(path, access)
  const settings = await clientSettings(access)
  settings.backoff.maxAttempts = NEVER_GIVE_UP
  const hub = new Hub({ path, urls, token, settings })
  const alias = tokenCommand && commandPath(urls[0], tokenCommand)
  const stopped = stopSignal({ unattended: true })
  try {
    const begun = await Promise.race([hub.start(), stopped])
    // Whoever started it in the background was promised a link; in the foreground it was told to end, and does.
    if (begun !== undefined) return process.send === undefined ? EXIT.ok : signalStatus(begun)
    if (alias !== undefined) {
      rmSync(alias, { force: true })
      symlinkSync(basename(path), alias)
    }
    if (process.send === undefined) ready()
    else process.send('ready', () => process.disconnect())
    const ended = await Promise.race([hub.failed, stopped])
    if (typeof ended !== 'string') throw ended
    return EXIT.ok
  } finally {
    // Another one's by now, where the command gives the token of another user.
    if (alias !== undefined && leadsTo(alias) === basename(path)) rmSync(alias, { force: true })
    await hub.close()
  }
}

function leadsTo(link: string): string | undefined {
  try {
    return readlinkSync(link)
  } catch {
    return undefined
  }
}

/** Starts this program again, apart from this terminal, and waits until it is up. What it says of its end is in a log. */
async function inBackground(
  path: string,
  flags: UpFlags,
  access: Access,
  ready: (pid: number) => void,
): Promise<number> {
  const log = path.replace(/\.sock$/, '.log')
  const descriptor = openSync(log, 'w', 0o600)
  const [file, ...args] = [...selfCommand(), 'up', '--foreground']
  if (flags.json === true) args.push('--json')
  if (flags.verbose === true) args.push('--verbose')
  // By environment and not by argument, as everybody on this machine can read the arguments.
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...environmentOf(access.given, process.env),
    TUNNEL_URL: access.urls.join(' '),
  }
  if (flags.token !== undefined) env.TUNNEL_TOKEN = flags.token
  if (access.context !== undefined) env.TUNNEL_CONTEXT = access.context
  if (access.profile !== undefined) env.TUNNEL_PROFILE = access.profile
  const child = spawn(file!, args, {
    detached: true,
    stdio: ['ignore', 'ignore', descriptor, 'ipc'],
    cwd: '/',
    env,
  })
  closeSync(descriptor)
  /** Undefined: it is up. */
  const status = await new Promise<number | undefined>((resolve, reject) => {
    child.once('error', reject)
    child.once('message', () => resolve(undefined))
    // A signal may end it before it listens for one.
    child.once('exit', (code, signal) => resolve(code ?? signalStatus(String(signal))))
    void stopSignal().then((signal) => child.kill(signal))
  })
  child.disconnect?.()
  child.unref()
  if (status === undefined) ready(child.pid!)
  else process.stderr.write(readFileSync(log))
  return status ?? EXIT.ok
}
