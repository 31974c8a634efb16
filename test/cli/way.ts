import { join } from 'node:path'
import type { Program } from '../support/process.ts'
import { startProxy, until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { type Sshd, type SshdOptions, startSshd } from '../support/sshd.ts'
import { freePort } from '../support/system.ts'
import { WITHOUT_PAGES } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

/** A way from commands to a machine called home with a real sshd. */
export interface Way {
  sshd: Sshd
  url: string
  port: number
  env: NodeJS.ProcessEnv
  /** Options that make `tunnel ssh` use this sshd's keys and nothing of the person's own. */
  sshOptions: string[]
  /** Resolves when the proxy has no client's link, no inspected stream and no busy SSH connection. */
  nothingLeft(): Promise<void>
}

/** Its proxy and agent are programs, started as a person would start them. */
export interface WayOfPrograms extends Way {
  /** The one that was started last. */
  proxy: Program
  agent: Program
  startProxy(): Promise<Program>
  startAgent(...more: string[]): Promise<Program>
}

/** A way whose proxy and agent are in this process: for tests of commands, at a tenth of the cost of `buildWay`. */
export async function buildWayInside(scope: Scope): Promise<Way> {
  const [sshd, proxy, folder] = await Promise.all([
    startSshd(scope),
    startProxy(scope),
    tempFolder(scope, 'cli'),
  ])
  await proxy.startAgent('home', 'alice', sshd)
  const { url, port } = proxy
  const place = { TUNNEL_URL: url, TUNNEL_TOKEN: proxy.tokenOf('alice'), TUNNEL_PROFILE: 'unstable-network' }
  const env = isolated(join(folder, 'state'), place)
  return { sshd, url, port, env, sshOptions: sshOptionsOf(sshd, folder), nothingLeft: () => nothingLeft(url) }
}

function sshOptionsOf(sshd: Sshd, folder: string): string[] {
  const settings = [
    ...[`IdentityFile=${sshd.clientKeyFile}`, 'IdentitiesOnly=yes', 'IdentityAgent=none', 'BatchMode=yes'],
    ...[`UserKnownHostsFile=${join(folder, 'known_hosts')}`, 'GlobalKnownHostsFile=/dev/null'],
    ...['StrictHostKeyChecking=accept-new', 'LogLevel=ERROR', `User=${sshd.user}`],
  ]
  return ['-F', '/dev/null', ...settings.flatMap((setting) => ['-o', setting])]
}

const LEFT =
  /^tunnel_(?:active_connections\{role="client"|streams\{kind="(?:http|exec|shell|sftp|tcp)"|ssh_pool_connections\{state="busy").*\} [1-9]/m

/** Streams of a program whose goodbye was late on a busy computer are kept as long as those of one that may come back. */
const RESUME_MS = 120_000

function nothingLeft(url: string): Promise<void> {
  const isNothing = async () => !LEFT.test(await (await fetch(`${url}/api/tunnel/metrics`)).text())
  return until(isNothing, RESUME_MS + 60_000)
}

export async function buildWay(
  scope: Scope,
  profile = 'unstable-network',
  options: SshdOptions = {},
): Promise<WayOfPrograms> {
  const sshd = await startSshd(scope, options)
  const folder = await tempFolder(scope, 'cli')
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const env = isolated(join(folder, 'state'), { TUNNEL_URL: url, TUNNEL_PROFILE: profile })
  const startOne = async () => {
    const proxy = startTunnel(scope, ['server', '--port', String(port)], {
      env: { ...env, ...WITHOUT_PAGES },
    })
    await proxy.line(/listening/i)
    return proxy
  }
  const startAgent = async (...more: string[]) => {
    const args = ['agent', '--machine', 'home', '--ssh', `127.0.0.1:${sshd.port}`, ...more]
    const agent = startTunnel(scope, args, { env })
    await agent.line(/on line/)
    return agent
  }
  const first = await startOne()
  const key = await tunnel(['key'], { env })
  await sshd.authorize(key.stdout)
  const agent = await startAgent()
  const way: WayOfPrograms = {
    ...{ sshd, url, port, env, proxy: first, agent, startAgent },
    sshOptions: sshOptionsOf(sshd, folder),
    nothingLeft: () => nothingLeft(url),
    startProxy: async () => {
      way.proxy = await startOne()
      return way.proxy
    },
  }
  return way
}
