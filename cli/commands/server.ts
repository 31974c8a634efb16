import { dirname, join, resolve } from 'node:path'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { type LoadedSettings, loadSettings } from '../../config/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Definition, PROFILE_OPTION, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { greeting } from '../greeting.ts'
import { missingSpeedUps } from '../native.ts'
import { type AskedPlugin, pluginsAskedFor } from '../plugin-arguments.ts'
import { tellAside } from '../prose.ts'
import { stopSignal } from '../stop.ts'
import { briefLog, wholeLog } from '../terminal-log.ts'
import { lookupsAtOnce } from '../threads.ts'
import { onUncaught } from '../uncaught.ts'
import { isWorker, WorkerSide } from '../workers/worker.ts'

/** What the drain may take beyond its own limit before the process ends anyway, in ms. */
const CLOSE_GRACE_MS = 2_000

/** How long Ctrl-C lets the peers move, in ms. */
const INTERRUPT_MS = 1_000

interface ServerFlags extends CommonOptions {
  config?: string
  host?: string
  port?: string
  set?: string[]
  workers?: string
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
    {
      flags: '--workers <number>',
      does: 'processes behind the one port, which share Redis and replace one that dies (default 1)',
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
  const count = workersIn(flags)
  const worker = isWorker() ? await WorkerSide.join() : undefined
  const first = load(flags, { worker })
  const isTerminal = process.stdout.isTTY === true && flags.json !== true
  // Beside the text for the person, only what needs attention; asked for, or in a pipe, everything.
  const isBrief = isTerminal && !first.sources.has('log.level')
  const reread = () => load(flags, { isBrief, worker })
  const loaded = isBrief ? reread() : first
  if (count > 1 && worker === undefined) {
    const { supervise } = await import('../workers/supervise.ts')
    return await supervise(loaded, count, { isBrief, isTerminal })
  }
  const { settings, sources } = loaded

  // Late, so that help and a wrong setting are told at once.
  const plugins = await loadPlugins(loaded, asked)
  const { buildServer } = await import('../../server.ts')
  const app = await buildServer({
    settings,
    sources,
    reread,
    plugins,
    worker,
    lookupsAtOnce: lookupsAtOnce(),
    ...(isTerminal && { logStream: isBrief ? briefLog() : wholeLog() }),
  })
  const stopped = worker === undefined ? stoppedBySignal(app) : stoppedBySupervisor(app, worker)
  const broken = uncaughtError(app.log)
  try {
    await app.listen({ host: settings.server.host, port: settings.server.port })
  } catch (error) {
    await app.close()
    throw listenError(error, settings.server)
  }
  if (worker === undefined || worker.number === 1)
    for (const warning of [...loaded.warnings, ...missingSpeedUps()]) app.log.warn(warning)
  const address = app.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : settings.server.port
  if (isTerminal && worker === undefined) tellAside(greeting(loaded, port))

  const reason = await Promise.race([stopped, broken])
  app.log.info(`${reason}: draining, then closing`)
  const late = setTimeout(() => process.exit(EXIT.failure), settings.shutdown.serverMs + CLOSE_GRACE_MS)
  // Clients and agents dial elsewhere first. A person who pressed Ctrl-C waits for that only a moment.
  await app.lifecycle.drain(
    reason === 'SIGINT' ? Math.min(INTERRUPT_MS, settings.shutdown.serverMs) : settings.shutdown.serverMs,
  )
  await app.close()
  clearTimeout(late)
  worker?.leave()
  return reason === UNCAUGHT ? EXIT.failure : EXIT.ok
}

function stoppedBySignal(app: FastifyInstance): Promise<string> {
  process.on('SIGUSR2', () => app.toggleDebugLog())
  // A second signal: stop waiting for what is still under way.
  return stopSignal({
    unattended: true,
    hangUp: () => app.reloadSettings(),
    hurry: () => void app.lifecycle.drain(0),
  })
}

function stoppedBySupervisor(app: FastifyInstance, worker: WorkerSide): Promise<string> {
  worker.follow({
    hurry: () => void app.lifecycle.drain(0),
    reload: () => app.reloadSettings(),
    debug: () => app.toggleDebugLog(),
    metrics: () => app.tunnelMetrics.readHere(),
  })
  return worker.stopped
}

/** More than there are cores is of no use, and many more are a slip. */
const MAX_WORKERS = 128

function workersIn({ workers = '1' }: ServerFlags): number {
  const count = /^\d{1,3}$/.test(workers) ? Number(workers) : 0
  if (count >= 1 && count <= MAX_WORKERS) return count
  throw new UsageError(`--workers is a whole number from 1 to ${MAX_WORKERS}, not "${workers}"`)
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

/** Resolves when something is thrown that nothing catches: the people on this proxy are asked to move before it ends. */
function uncaughtError(log: FastifyBaseLogger): Promise<typeof UNCAUGHT> {
  return new Promise((resolve) => {
    onUncaught((err) => {
      log.error({ err }, UNCAUGHT)
      resolve(UNCAUGHT)
    })
  })
}

interface Loading {
  isBrief?: boolean
  worker?: WorkerSide | undefined
}

function load(flags: ServerFlags, { isBrief = false, worker }: Loading): LoadedSettings {
  const flag = (name: string, path: string, value: string | undefined) =>
    value === undefined ? [] : [{ name, path, value }]
  const read = (more: ReturnType<typeof flag>): LoadedSettings =>
    loadSettings({
      profile: flags.profile,
      file: flags.config,
      flags: [
        ...(flags.set ?? []),
        ...flag('--host', 'server.host', flags.host),
        ...flag('--port', 'server.port', flags.port),
        ...flag('of a terminal', 'log.level', isBrief ? 'warn' : undefined),
        ...more,
      ],
    })
  const loaded = read([])
  if (worker === undefined) return loaded
  // A trail is one process' own.
  const { audit, state } = loaded.settings
  return read(flag('--workers', 'audit.dir', join(audit.dir ?? state.dir, `worker-${worker.number}`)))
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
