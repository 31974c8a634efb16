import type { ChildProcess } from 'node:child_process'
import { createServer } from 'node:http'
import { authorizeKey } from '../../agent/authorized-keys.ts'
import type { Narrator } from './narrator.ts'
import { sshCommand } from './ssh-client.ts'
import { freePort, startSshServer } from './ssh-server.ts'
import { type Finished, finish, lineOf, SERVER, type Stage } from './stage.ts'

/** Short waits between redials, so that the cuts of the demo are short. */
export const PROFILE = 'unstable-network'

/** The parts of the demo on their feet: an SSH server, a web service, the proxy and an agent. */
export class Scene {
  readonly stage: Stage
  readonly url: string
  readonly webPort: number
  readonly #port: number
  readonly #ssh: string[]
  #proxy: ChildProcess

  private constructor(stage: Stage, port: number, webPort: number, ssh: string[], proxy: ChildProcess) {
    this.stage = stage
    this.url = `http://127.0.0.1:${port}`
    this.webPort = webPort
    this.#port = port
    this.#ssh = ssh
    this.#proxy = proxy
  }

  static async build(stage: Stage, say: Narrator, embedded: boolean): Promise<Scene> {
    const server = await startSshServer(stage, embedded)
    say.done(`an SSH server: ${server.kind}, as ${server.user}, on 127.0.0.1:${server.port}`)
    const webPort = await startWebService(stage)
    say.done(`a web service on 127.0.0.1:${webPort}`)

    const port = await freePort()
    stage.setEnv('TUNNEL_URL', `http://127.0.0.1:${port}`)
    stage.setEnv('TUNNEL_PROFILE', PROFILE)
    const proxy = await startProxy(stage, port)
    const scene = new Scene(stage, port, webPort, sshCommand(stage, server, embedded), proxy)
    say.done(`the proxy: tunnel server, process ${proxy.pid}, at ${scene.url}`)

    const key = await stage.run(['key'])
    if (key.status !== 0) throw new Error(key.stderr.trim())
    await authorizeKey(key.stdout, { file: server.authorizedKeysFile })
    const agent = await startAgent(stage, server.port)
    say.done(`an agent: tunnel agent --machine home, process ${agent.pid}, dialled out to the proxy`)
    return scene
  }

  get proxy(): ChildProcess {
    return this.#proxy
  }

  /** Starts the proxy again, at the same address, and waits until it listens. */
  async restartProxy(): Promise<void> {
    this.#proxy = await startProxy(this.stage, this.#port)
  }

  startSsh(command: string): ChildProcess {
    const [program = '', ...args] = this.#ssh
    return this.stage.spawn(program, [...args, command])
  }

  /** Runs one command through `tunnel ssh` to its end. */
  ssh(command: string, onStdout?: (chunk: Buffer) => void): Promise<Finished> {
    return finish(this.startSsh(command), 'tunnel ssh', onStdout)
  }
}

/** An agent that puts the SSH server on line as `home`. */
export async function startAgent(stage: Stage, sshPort: number): Promise<ChildProcess> {
  const agent = stage.tunnel(['agent', '--machine', 'home', '--ssh', `127.0.0.1:${sshPort}`])
  await lineOf(agent, /on line/, 'the agent')
  return agent
}

async function startProxy(stage: Stage, port: number): Promise<ChildProcess> {
  const proxy = stage.tunnel([...SERVER, '--port', String(port)])
  await lineOf(proxy, /listening/i, 'the proxy')
  return proxy
}

function startWebService(stage: Stage): Promise<number> {
  let served = 0
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(
      `${JSON.stringify({ hello: 'from a service on the machine', path: request.url, served: ++served })}\n`,
    )
  })
  stage.onClose(() => {
    server.closeAllConnections()
    server.close()
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address !== null && typeof address === 'object') resolve(address.port)
    })
  })
}
