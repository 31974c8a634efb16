import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { Agent } from '../agent/index.ts'
import { TunnelService } from '../client/index.ts'
import { resolveSettings } from '../client/settings.ts'
import { type BuildOptions, buildServer, loadSettings } from '../server.ts'
import { TestClock } from './clock.ts'
import { newKeyPair, type SshServer, startSshServer } from './ssh-server.ts'

export { TestClock } from './clock.ts'
export { newKeyPair, type SshServer, type SshServerOptions, startSshServer } from './ssh-server.ts'

export interface TestTunnelOptions {
  /** What is to be tested. */
  plugins?: BuildOptions['plugins']
  /** Settings, as `a.b=value`. */
  settings?: readonly string[]
  /** @default 'home' */
  machine?: string
  /** Whose the machine is, and the client. @default 'somebody' */
  user?: string
}

/** Who a token speaks for. */
export interface TestUser {
  /** @default 'enterprise' */
  tier?: 'free' | 'premium' | 'enterprise'
  roles?: readonly string[]
  /** @default 3_600 */
  ttlSeconds?: number
}

/** Redials come quickly. */
const SETTINGS = { backoff: { baseMs: 20, maxMs: 200, maxAttempts: 200 } }

/** A real proxy, SSH server, agent and client, all on loopback and in this process. */
export interface TestTunnel extends AsyncDisposable {
  readonly app: FastifyInstance
  /** http://127.0.0.1:PORT */
  readonly url: string
  readonly machine: string
  readonly user: string
  /** Of this process: all test tunnels share it. */
  readonly clock: TestClock
  /** The machine's. It runs commands as whoever runs the test. */
  readonly sshServer: SshServer
  /** The owner's, connected. */
  readonly client: TunnelService
  /** What the proxy has logged, the oldest first. */
  readonly log: readonly Record<string, unknown>[]
  /** A token that the proxy honours. @default its owner's */
  token(user?: string, more?: TestUser): string
  /** A client of another user, connected; it goes with the tunnel. */
  connect(user: string, more?: TestUser): Promise<TunnelService>
  /** Ends everything, and leaves nothing. */
  close(): Promise<void>
}

let shared: { clock: TestClock; users: number } | undefined

function takeClock(): TestClock {
  shared ??= { clock: new TestClock(), users: 0 }
  shared.users++
  return shared.clock
}

function giveClock(): void {
  if (shared === undefined || --shared.users > 0) return
  shared.clock[Symbol.dispose]()
  shared = undefined
}

/**
 * `await using tunnel = await startTestTunnel({ plugins: [mine] })`: it stands when this resolves, with the machine on
 * line.
 * @throws {TunnelError} what a plugin refuses to start with; nothing is left then
 */
export async function startTestTunnel(options: TestTunnelOptions = {}): Promise<TestTunnel> {
  const { plugins = [], settings: flags = [], machine = 'home', user = 'somebody' } = options
  const closing: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (let step = closing.pop(); step !== undefined; step = closing.pop()) await step()
  }
  try {
    const clock = takeClock()
    closing.push(giveClock)
    const stateDir = mkdtempSync(join(tmpdir(), 'tunnel-testing-'))
    closing.push(() => rmSync(stateDir, { recursive: true, force: true }))
    const { settings } = loadSettings({ stateDir: join(stateDir, 'state'), env: {}, flags })
    const log: Record<string, unknown>[] = []
    const logStream = { write: (line: string) => void log.push(JSON.parse(line) as Record<string, unknown>) }
    const app = await buildServer({ settings, plugins, logStream })
    closing.push(() => app.close())
    await app.listen({ host: '127.0.0.1', port: 0 })
    const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`

    const account = userInfo().username
    const sshServer = await startSshServer({
      hostKey: newKeyPair('test host key').private,
      user: account,
      authorizedKeys: () => app.ssh.publicKey(user),
    })
    closing.push(() => sshServer.close())
    const token = (
      sub = user,
      { tier = 'enterprise', roles = [], ttlSeconds = 3_600 }: TestUser = {},
    ): string => app.auth.sign({ sub, tier, roles, ttlSeconds })
    const agent = new Agent({
      urls: [url],
      machine,
      token: token(),
      ssh: `127.0.0.1:${sshServer.port}`,
      settings: resolveSettings({}, 'default', SETTINGS),
    })
    closing.push(() => agent.close())
    await agent.start()
    const connect = async (sub: string, more?: TestUser): Promise<TunnelService> => {
      const client = new TunnelService({ url, token: token(sub, more), settings: SETTINGS })
      closing.push(() => client.disconnect(0))
      await client.connect()
      return client
    }
    const client = await connect(user)
    const tunnel = { app, url, machine, user, clock, sshServer, client, log, token, connect, close }
    return { ...tunnel, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}
