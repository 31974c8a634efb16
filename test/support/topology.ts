import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { signToken } from '../../plugins/auth/tokens.ts'
import { FaultRelay } from '../chaos/fault-relay.ts'
import { Program } from './process.ts'
import type { Scope } from './scope.ts'
import { type Sshd, shellLine, startSshd } from './sshd.ts'
import { freePort } from './system.ts'
import { tempFolder } from './tree.ts'

/** The compiled command, as a user runs it. */
export const TUNNEL_CLI =
  process.env.TUNNEL_TEST_CLI ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
export const MACHINE = 'home'
const SUBJECT = 'somebody'
const TOKEN_TTL_SECONDS = 12 * 3_600
/** How long a party may take to start, in ms. */
const START_MS = 20_000

export interface TopologyOptions {
  /** Configuration profile of all parties. Default: none named. */
  profile?: string
  /** Fault relays before the proxy: one for clients, one for the agent. */
  relays?: boolean
  /** Address that the clients' relay listens on, where a network namespace reaches it. Default loopback. */
  clientHost?: string
  /** A relay without faults before the sshd, which sees the payload alone: for stalls. */
  watchSshd?: boolean
  /** Lets the user's derived key in, for the inspected path. */
  inspected?: boolean
  /** More `--set a.b=v` for the proxy. */
  set?: string[]
  /** The same for the agent. */
  agentSet?: string[]
  /** More addresses that the agent may dial. */
  allow?: string[]
}

/** An sshd, a proxy and an agent as real processes on this machine, joined through relays that can fail. */
export interface Topology {
  readonly sshd: Sshd
  readonly token: string
  /** Where clients reach the proxy: their relay when there is one. */
  readonly url: string
  /** The environment of a client: TUNNEL_URL, TUNNEL_TOKEN, TUNNEL_STATE_DIR, TUNNEL_PROFILE. */
  readonly env: NodeJS.ProcessEnv
  /** For `ssh -o ProxyCommand=…`. */
  readonly proxyCommand: string
  readonly clientRelay: FaultRelay | undefined
  readonly agentRelay: FaultRelay | undefined
  readonly sshdRelay: FaultRelay | undefined
  readonly proxy: Program
  readonly agent: Program
  /** SIGKILL to the proxy, and another one on the same port and state. Resolves when it listens. */
  restartProxy(): Promise<void>
  /** Resolves when the agent has a link to the proxy again. */
  agentOnline(): Promise<void>
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
  const stateDir = join(folder, 'state')
  await mkdir(stateDir, { mode: 0o700 })
  const base: NodeJS.ProcessEnv = { ...process.env, HOME: folder, TUNNEL_STATE_DIR: stateDir }
  for (const name of ['TUNNEL_URL', 'TUNNEL_TOKEN', 'TUNNEL_TOKEN_FILE', 'NODE_OPTIONS']) delete base[name]
  if (options.profile !== undefined) base.TUNNEL_PROFILE = options.profile

  let port = 0
  const startProxy = async () => {
    const set = (options.set ?? []).flatMap((setting) => ['--set', setting])
    const secrets = { TUNNEL_JWT_SECRET: secret, TUNNEL_MASTER_SECRET: masterSecret }
    const proxy = tunnel(['server', '--host', '127.0.0.1', '--port', String(port), ...set], {
      ...base,
      ...secrets,
    })
    await within(proxy, `proxy on port ${port}`, proxy.line(new RegExp(`listening.*:${port}\\b`, 'i')))
    return proxy
  }
  let proxy = await retryOnBusyPort(async () => {
    port = await freePort()
    return await startProxy()
  })
  scope.after(() => proxy.stop())

  const target = { host: '127.0.0.1', port }
  const relay = (host?: string) => FaultRelay.listen(scope, { target, ...(host !== undefined && { host }) })
  const clientRelay = options.relays ? await relay(options.clientHost) : undefined
  const agentRelay = options.relays ? await relay() : undefined
  const sshdRelay = options.watchSshd ? await FaultRelay.listen(scope, { target: sshd }) : undefined
  const proxyUrl = `http://127.0.0.1:${port}`
  const url = clientRelay?.url ?? proxyUrl
  const env = { ...base, TUNNEL_URL: url, TUNNEL_TOKEN: token }

  const agentArgs = ['--verbose', '--machine', MACHINE, '--ssh', `127.0.0.1:${sshdRelay?.port ?? sshd.port}`]
  const agentSet = (options.agentSet ?? []).flatMap((setting) => ['--set', setting])
  const allow = (options.allow ?? []).flatMap((address) => ['--allow', address])
  const agent = tunnel(['agent', ...agentArgs, ...allow, ...agentSet], {
    ...env,
    TUNNEL_URL: agentRelay?.url ?? proxyUrl,
  })
  scope.after(() => agent.stop())

  const api = async <T>(path: string): Promise<T> => {
    const response = await fetch(`${proxyUrl}/api/tunnel/${path}`, {
      headers: { authorization: `Bearer ${token}` },
    })
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }
  await within(agent, 'agent on line', agent.line(`${MACHINE} is on line`))
  if (options.inspected) await sshd.authorize((await api<{ publicKey: string }>('ssh/key')).publicKey)

  return {
    sshd,
    token,
    url,
    env,
    proxyCommand: shellLine([process.execPath, TUNNEL_CLI, 'stdio', '--url', url, MACHINE]),
    clientRelay,
    agentRelay,
    sshdRelay,
    get proxy() {
      return proxy
    },
    agent,
    async restartProxy() {
      proxy.kill('SIGKILL')
      await proxy.exit
      proxy = await startProxy()
    },
    async agentOnline() {
      const deadlineMs = performance.now() + START_MS
      while (performance.now() < deadlineMs) {
        const { machines } = await api<{ machines: { online: boolean }[] }>('machines')
        if (machines.some((machine) => machine.online)) return
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      throw new Error('the agent did not come back')
    },
    logs: () =>
      [
        `proxy: ${proxy.stdout.slice(-3_000)}${proxy.stderr.slice(-1_000)}`,
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
