import { dirname, resolve } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import { shellWord } from '../../client/shell-words.ts'
import { defaultStateDir, type LoadedSettings, loadSettings } from '../../config/index.ts'
import { packageVersion } from '../../dial/software.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { DEFAULT_URL } from '../credentials.ts'
import { type Definition, PROFILE_OPTION, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { missingSpeedUps } from '../native.ts'
import { paint } from '../output.ts'
import { type AskedPlugin, pluginsAskedFor } from '../plugin-arguments.ts'
import { calledAs } from '../self.ts'
import { stopSignal } from '../stop.ts'
import { briefLog, wholeLog } from '../terminal-log.ts'

/** What the drain may take beyond its own limit before the process ends anyway, in ms. */
const CLOSE_GRACE_MS = 2_000

/** How long Ctrl-C lets the peers move, in ms. */
const INTERRUPT_MS = 1_000

interface ServerFlags extends CommonOptions {
  config?: string
  host?: string
  port?: string
  set?: string[]
}

export const definition: Definition = {
  name: 'server',
  does: 'Starts the proxy. On a terminal it says what to type next; elsewhere its log goes to stdout, as JSON lines.',
  examples: [
    'tunnel server',
    'tunnel server --profile production --set server.trustProxy=["127.0.0.1"]',
    'tunnel server --plugin ./my-policy.ts --plugin-option fromHour=7',
  ],
  reaches: false,
  options: [
    { flags: '--host <host>', does: 'address to listen on (default 127.0.0.1)' },
    { flags: '--port <number>', does: 'port to listen on (default 3001; 0 = any)' },
    {
      flags: '--plugin <file>',
      does: 'a custom Fastify plugin: a .js or .ts file, or a package; may be given again',
      repeats: true,
      values: 'file',
    },
    {
      flags: '--plugin-option <name=value>',
      does: 'an option of the plugin before it; may be given again',
      repeats: true,
    },
    PROFILE_OPTION,
    ...SETTINGS_OPTIONS,
  ],
}

export async function run(argv: string[]): Promise<number> {
  const line = command(definition)
  const asked = pluginsAskedFor(line)
  const made = parse(line, argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<ServerFlags>()
  const first = load(flags)
  const isTerminal = process.stdout.isTTY === true
  // Beside the text for the person, only what needs attention; asked for, or in a pipe, everything.
  const isBrief = isTerminal && !first.sources.has('log.level')
  const reread = () => load(flags, isBrief)
  const loaded = isBrief ? reread() : first
  const { settings, sources } = loaded

  // Late, so that help and a wrong setting are told at once.
  const plugins = await loadPlugins(loaded, asked)
  const { buildServer } = await import('../../server.ts')
  const app = await buildServer({
    settings,
    sources,
    reread,
    plugins,
    ...(isTerminal && { logStream: isBrief ? briefLog() : wholeLog() }),
  })
  // A second signal: stop waiting for what is still under way.
  const stopped = stopSignal({
    unattended: true,
    hangUp: () => app.reloadSettings(),
    hurry: () => void app.lifecycle.drain(0),
  })
  process.on('SIGUSR2', () => app.toggleDebugLog())
  const broken = uncaughtError(app.log)
  try {
    await app.listen({ host: settings.server.host, port: settings.server.port })
  } catch (error) {
    await app.close()
    throw listenError(error, settings.server)
  }
  for (const warning of [...loaded.warnings, ...missingSpeedUps()]) app.log.warn(warning)
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : settings.server.port
  if (isTerminal) process.stderr.write(greeting(loaded, port))

  const reason = await Promise.race([stopped, broken])
  app.log.info(`${reason}: draining, then closing`)
  const late = setTimeout(() => process.exit(EXIT.failure), settings.shutdown.serverMs + CLOSE_GRACE_MS)
  // Clients and agents dial elsewhere first. A person who pressed Ctrl-C waits for that only a moment.
  await app.lifecycle.drain(
    reason === 'SIGINT' ? Math.min(INTERRUPT_MS, settings.shutdown.serverMs) : settings.shutdown.serverMs,
  )
  await app.close()
  clearTimeout(late)
  return reason === UNCAUGHT ? EXIT.failure : EXIT.ok
}

/** Those of the configuration, then those of the command line. A file's own paths are relative to that file. */
async function loadPlugins({ settings, sources }: LoadedSettings, asked: readonly AskedPlugin[]) {
  if (settings.plugins.length === 0 && asked.length === 0) return []
  const { loadPlugin } = await import('../../custom/load.ts')
  const [, file] = /^file (.*)$/.exec(sources.get('plugins') ?? '') ?? []
  const folder = file === undefined ? process.cwd() : dirname(resolve(file))
  return await Promise.all([
    ...settings.plugins.map(({ path, options }) => loadPlugin(path, options, folder)),
    ...asked.map(({ path, options }) => loadPlugin(path, options)),
  ])
}

const UNCAUGHT = 'an error that nothing caught'

/**
 * Resolves when something is thrown that nothing catches. What state it has left behind nobody knows, so the process
 * ends; the people on it are asked to move first.
 */
function uncaughtError(log: FastifyBaseLogger): Promise<typeof UNCAUGHT> {
  return new Promise((resolve) => {
    process.on('uncaughtException', (err) => {
      log.error({ err }, UNCAUGHT)
      resolve(UNCAUGHT)
    })
  })
}

function load(flags: ServerFlags, isBrief = false): LoadedSettings {
  const named = [
    ...(flags.host === undefined ? [] : [{ name: '--host', path: 'server.host', value: flags.host }]),
    ...(flags.port === undefined ? [] : [{ name: '--port', path: 'server.port', value: flags.port }]),
    ...(isBrief ? [{ name: 'of a terminal', path: 'log.level', value: 'warn' }] : []),
  ]
  return loadSettings({ profile: flags.profile, file: flags.config, flags: [...(flags.set ?? []), ...named] })
}

function listenError(error: unknown, { host, port }: { host: string; port: number }): unknown {
  const reasons = new Map([
    ['EADDRINUSE', `port ${port} of ${host} is in use by another program; choose another with --port`],
    ['EACCES', `this user may not listen on port ${port}; choose one above 1023 with --port`],
    ['EADDRNOTAVAIL', `${host} is not an address of this machine`],
    ['ENOTFOUND', `${host} is not an address of this machine`],
  ])
  const reason = error instanceof Error && 'code' in error ? reasons.get(String(error.code)) : undefined
  return reason === undefined
    ? error
    : new TunnelError('CONFIG_INVALID', reason, { cause: error, hop: 'proxy' })
}

function greeting({ profile, settings }: LoadedSettings, port: number): string {
  const { bold, dim, cyan } = paint(process.stderr)
  const { host, tls } = settings.server
  const name = host.includes(':') ? `[${host}]` : host
  const url = `${tls === undefined ? 'http' : 'https'}://${name}:${port}`
  // What differs from the defaults has to be told to the other two commands as well.
  const env: string[] = []
  if (settings.state.dir !== defaultStateDir()) env.push(`TUNNEL_STATE_DIR=${shellWord(settings.state.dir)} `)
  if (url !== DEFAULT_URL) env.push(`TUNNEL_URL=${url} `)
  const type = (line: string): string => `  ${dim('$')} ${env.join('')}${cyan(line)}\n`
  return [
    `${bold(`tunnel ${packageVersion()}`)}: the proxy listens on ${bold(url)}\n`,
    dim(`profile ${profile}, state in ${settings.state.dir}, Ctrl-C stops it\n`),
    `\nNext, in two other terminals${calledAs() === 'tunnel' ? '' : ', in this folder'}:\n`,
    type(`${calledAs()} agent --machine home`),
    type(`${calledAs()} ssh home`),
  ].join('')
}
