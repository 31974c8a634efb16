import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Program } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { type Sshd, type SshdOptions, startSshd } from '../support/sshd.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { isolated, startTunnel, tunnel } from './tunnel.ts'

/** A proxy, an agent and a real sshd, started as a person would start them. */
export interface Way {
  sshd: Sshd
  url: string
  port: number
  env: NodeJS.ProcessEnv
  /** The one that was started last. */
  proxy: Program
  agent: Program
  /** Options that make `tunnel ssh` use this sshd's keys and nothing of the person's own. */
  sshOptions: string[]
  startProxy(): Promise<Program>
  startAgent(...more: string[]): Promise<Program>
  /** Resolves when the proxy has no client's link, no inspected stream and no busy SSH connection. */
  nothingLeft(): Promise<void>
}

export async function buildWay(
  scope: Scope,
  profile = 'unstable-network',
  options: SshdOptions = {},
): Promise<Way> {
  const sshd = await startSshd(scope, options)
  const folder = await tempFolder(scope, 'cli')
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const env = isolated(join(folder, 'state'), { TUNNEL_URL: url, TUNNEL_PROFILE: profile })
  const startProxy = async () => {
    const proxy = startTunnel(scope, ['server', '--port', String(port)], { env })
    await proxy.line(/listening/i)
    return proxy
  }
  const startAgent = async (...more: string[]) => {
    const args = ['agent', '--machine', 'home', '--ssh', `127.0.0.1:${sshd.port}`, ...more]
    const agent = startTunnel(scope, args, { env })
    await agent.line(/on line/)
    return agent
  }
  const first = await startProxy()
  const key = await tunnel(['key'], { env })
  await sshd.authorize(key.stdout)
  const agent = await startAgent()
  const settings = [
    ...[`IdentityFile=${sshd.clientKeyFile}`, 'IdentitiesOnly=yes', 'IdentityAgent=none', 'BatchMode=yes'],
    ...[`UserKnownHostsFile=${join(folder, 'known_hosts')}`, 'GlobalKnownHostsFile=/dev/null'],
    ...['StrictHostKeyChecking=accept-new', 'LogLevel=ERROR', `User=${sshd.user}`],
  ]
  const sshOptions = ['-F', '/dev/null', ...settings.flatMap((setting) => ['-o', setting])]
  const left =
    /^tunnel_(?:active_connections\{role="client"|streams\{kind="(?:http|exec|shell|sftp|tcp)"|ssh_pool_connections\{state="busy").*\} [1-9]/m
  const nothingLeft = () =>
    until(async () => !left.test(await (await fetch(`${url}/api/tunnel/metrics`)).text()))
  const way: Way = {
    ...{ sshd, url, port, env, proxy: first, agent, sshOptions, startAgent, nothingLeft },
    startProxy: async () => {
      way.proxy = await startProxy()
      return way.proxy
    },
  }
  return way
}

export async function startService(scope: Scope, listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
