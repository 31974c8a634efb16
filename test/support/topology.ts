import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { signToken } from '../../plugins/auth/tokens.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { TELLS_MEMORY } from './memory.ts'
import { Program } from './process.ts'
import type { Scope } from './scope.ts'
import { type Sshd, shellLine, startSshd } from './sshd.ts'
import { freePort } from './system.ts'
import { tempFolder } from './tree.ts'

/** The command as a user has it. */
export const BUILT_CLI = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url))
/** The command of `npm test`, which starts sooner because more packages are bundled into it; elsewhere that of a user. */
export const TUNNEL_CLI = process.env.TUNNEL_TEST_CLI ?? BUILT_CLI
export const MACHINE = 'home'
const SUBJECT = 'somebody'
const TOKEN_TTL_SECONDS = 12 * 3_600
/**
 * For a proxy of its own process: the pages that describe the routes take a quarter of its start, and tests start proxies
 * a hundred times. No other command gets this, for a setting in its environment makes it load all settings.
 */
export const WITHOUT_PAGES = { TUNNEL_SERVER_DOCS: 'false' }
/** For a proxy of its own process: a computer that does other things too is no reason for it to refuse streams. */
export const ON_BUSY_COMPUTER = ['--set', 'health.maxLagMs=60000']
/** How long a party may take to start, in ms; computers that are busy with other things take half a minute. */
const START_MS = 60_000

export interface TopologyOptions {
  /** Configuration profile of all parties. Default: none named. */
  profile?: string
  /** Fault relays before the proxy: one for clients, one for the agent. */
  relays?: boolean
  /** Address that the clients' relay listens on, where a network namespace reaches it. Default loopback. */
  clientHost?: string
  /** A relay without faults before the sshd, which sees the payload alone: for stalls. */
  watchSshd?: boolean
  /** A second proxy beside the first, with the same secrets and a state of its own; all parties know both. */
  twoProxies?: boolean
  /** `tunnel server --workers` with so many. */
  workers?: number
  /** A Redis for what proxies share. Default: the embedded store. */
  redisUrl?: string
  /** Lets the user's derived key in, for the inspected path. */
  inspected?: boolean
  /** More `--set a.b=v` for the proxy. */
  set?: readonly string[]
  /** The same for the agent. */
  agentSet?: string[]
  /** Files of custom plugins for the proxy. */
  plugins?: readonly string[]
  /** The proxy tells its memory when it is asked (`liveBytes`). */
  tellsMemory?: boolean
  /** More addresses that the agent may dial. */
  allow?: string[]
}

/** An sshd, a proxy and an agent as real processes on this machine, joined through relays that can fail. */
export interface Topology {
  readonly sshd: Sshd
  readonly token: string
  /** Where clients reach the proxy: their relay when there is one. Of two proxies the first. */
  readonly url: string
  /** The environment of a client: TUNNEL_URL, TUNNEL_TOKEN, TUNNEL_STATE_DIR, TUNNEL_PROFILE. */
  readonly env: NodeJS.ProcessEnv
  /** For `ssh -o ProxyCommand=…`. */
  readonly proxyCommand: string
  readonly clientRelay: FaultRelay | undefined
  /** One before each proxy. */
  readonly clientRelays: readonly FaultRelay[]
  readonly agentRelay: FaultRelay | undefined
  readonly sshdRelay: FaultRelay | undefined
  readonly proxy: Program
  readonly agent: Program
  /** SIGKILL to the proxy, and another one on the same port and state. Resolves when it listens. */
  restartProxy(): Promise<void>
  /** A deploy of two proxies: SIGTERM to one, its successor when it is gone, and when the agent has come the other. */
  rollProxies(): Promise<void>
  /** What the parties wrote last, for the message of a failure. */
  logs(): string
}

function tunnel(args: readonly string[], env: NodeJS.ProcessEnv): Program {
  return new Program(process.execPath, [TUNNEL_CLI, ...args], { env })
}

/** Fails with what the program said when it takes longer than a party may take to start. */
async function within<T>(program: Program, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new Error(
            `no ${what} in ${START_MS} ms:\n${program.stdout.slice(-2_000)}${program.stderr.slice(-2_000)}`,
          ),
        ),
      START_MS,
    )
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

export async function startTopology(scope: Scope, options: TopologyOptions = {}): Promise<Topology> {
  const folder = await tempFolder(scope, 'topology')
  const sshd = await startSshd(scope)
  const [secret, masterSecret] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')]
  const token = signToken(secret, { sub: SUBJECT, tier: 'enterprise', ttlSeconds: TOKEN_TTL_SECONDS })
  const secrets = { TUNNEL_JWT_SECRET: secret, TUNNEL_MASTER_SECRET: masterSecret }
  const stateDirOf = (name: string) => join(folder, name)
  const stateDir = stateDirOf('state')
  const base: NodeJS.ProcessEnv = { ...process.env, HOME: folder, TUNNEL_STATE_DIR: stateDir }
  for (const name of ['TUNNEL_URL', 'TUNNEL_TOKEN', 'TUNNEL_TOKEN_FILE', 'NODE_OPTIONS']) delete base[name]
  if (options.profile !== undefined) base.TUNNEL_PROFILE = options.profile

  const startProxy = async (port: number, dir: string): Promise<Program> => {
    const set = (options.set ?? []).flatMap((setting) => ['--set', setting])
    const plugins = (options.plugins ?? []).flatMap((file) => ['--plugin', file])
    const workers = options.workers === undefined ? [] : ['--workers', String(options.workers)]
    const proxy = tunnel(
      [
        'server',
        '--host',
        '127.0.0.1',
        '--port',
        String(port),
        ...ON_BUSY_COMPUTER,
        ...workers,
        ...plugins,
        ...set,
      ],
      {
        ...base,
        ...secrets,
        ...WITHOUT_PAGES,
        ...(options.redisUrl !== undefined && {
          TUNNEL_STATE_STORE: 'redis',
          TUNNEL_STATE_REDIS_URL: options.redisUrl,
        }),
        TUNNEL_STATE_DIR: dir,
        ...(options.tellsMemory && { NODE_OPTIONS: TELLS_MEMORY }),
      },
    )
    try {
      await within(proxy, `proxy on port ${port}`, proxy.line(new RegExp(`listening.*:${port}\\b`, 'i')))
      return proxy
    } catch (error) {
      await proxy.stop() // else it would keep the test's process for as long as it runs
      throw error
    }
  }
  const names = options.twoProxies ? ['state', 'state-2'] : ['state']
  const proxies = await Promise.all(
    names.map(async (name) => {
      const dir = stateDirOf(name)
      await mkdir(dir, { mode: 0o700 })
      const place = await retryOnBusyPort(async () => {
        const port = await freePort()
        return { port, dir, program: await startProxy(port, dir) }
      })
      scope.after(() => place.program.stop())
      return place
    }),
  )
  const [first] = proxies as [(typeof proxies)[number], ...typeof proxies]

  const relay = (port: number, host?: string) =>
    FaultRelay.listen(scope, { target: { host: '127.0.0.1', port }, ...(host !== undefined && { host }) })
  const clientRelays = options.relays
    ? await Promise.all(proxies.map(({ port }) => relay(port, options.clientHost)))
    : []
  const clientRelay = clientRelays[0]
  const agentRelay = options.relays ? await relay(first.port) : undefined
  const sshdRelay = options.watchSshd ? await FaultRelay.listen(scope, { target: sshd }) : undefined
  const urlOf = (port: number) => `http://127.0.0.1:${port}`
  const urls = proxies.map(({ port }, index) => clientRelays[index]?.url ?? urlOf(port))
  const url = urls[0] ?? ''
  const env = { ...base, TUNNEL_URL: urls.join(','), TUNNEL_TOKEN: token }
  const agentUrls = proxies.map(({ port }, index) =>
    index === 0 && agentRelay !== undefined ? agentRelay.url : urlOf(port),
  )

  const agentArgs = ['--verbose', '--machine', MACHINE, '--ssh', `127.0.0.1:${sshdRelay?.port ?? sshd.port}`]
  const agentSet = (options.agentSet ?? []).flatMap((setting) => ['--set', setting])
  const allow = (options.allow ?? []).flatMap((address) => ['--allow', address])
  const agent = tunnel(['agent', ...agentArgs, ...allow, ...agentSet], {
    ...env,
    TUNNEL_URL: agentUrls.join(','),
  })
  scope.after(() => agent.stop())

  const api = async <T>(port: number, path: string): Promise<T> => {
    const response = await fetch(`${urlOf(port)}/api/tunnel/${path}`, {
      headers: { authorization: `Bearer ${token}` },
    })
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }
  const agentOnline = async (port: number): Promise<void> => {
    const deadlineMs = performance.now() + START_MS
    while (performance.now() < deadlineMs) {
      const machines = await api<{ online: boolean }[]>(port, 'machines')
      if (machines.some((machine) => machine.online)) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error('the agent did not come back')
  }
  await within(agent, 'agent on line', agent.line(`${MACHINE} is on line`))
  for (const { port } of proxies) await agentOnline(port)
  if (options.inspected)
    await sshd.authorize((await api<{ publicKey: string }>(first.port, 'ssh/key')).publicKey)

  const restart = async (place: (typeof proxies)[number], signal: NodeJS.Signals): Promise<void> => {
    place.program.kill(signal)
    await place.program.exit
    place.program = await startProxy(place.port, place.dir)
  }
  return {
    sshd,
    token,
    url,
    env,
    proxyCommand: shellLine([
      process.execPath,
      TUNNEL_CLI,
      'stdio',
      ...urls.flatMap((each) => ['--url', each]),
      MACHINE,
    ]),
    clientRelay,
    clientRelays,
    agentRelay,
    sshdRelay,
    get proxy() {
      return first.program
    },
    agent,
    restartProxy: () => restart(first, 'SIGKILL'),
    async rollProxies() {
      for (const place of proxies) {
        await restart(place, 'SIGTERM')
        await agentOnline(place.port)
      }
    },
    logs: () =>
      [
        ...proxies.map(
          ({ program }) => `proxy: ${program.stdout.slice(-3_000)}${program.stderr.slice(-1_000)}`,
        ),
        `agent: ${agent.stdout.slice(-3_000)}${agent.stderr.slice(-1_000)}`,
        `sshd: ${sshd.stderr.slice(-2_000)}`,
      ].join('\n'),
  }
}

/** A program that cannot take port 0 was given one that another program took meanwhile. */
async function retryOnBusyPort<T>(start: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start()
    } catch (error) {
      if (attempt === 3 || !/EADDRINUSE|in use/.test(String(error))) throw error
    }
  }
}
