import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { userInfo } from 'node:os'
import type { Duplex } from 'node:stream'
import { Agent } from '../../agent/index.ts'
import { TunnelService } from '../../client/index.ts'
import { resolveSettings } from '../../client/settings.ts'
import { newKeyPair, startSshServer } from '../../testing/ssh-server.ts'
import { drop, listenTcp, startProxy, type TestProxy, until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { descriptors, type Held, held } from './held.ts'

/** How long what might come back is kept, in ms. */
const KEPT_MS = 3_000
const BACKOFF = { baseMs: 10, maxMs: 50, maxAttempts: 200 }
const OF_CLIENT = { backoff: BACKOFF, streams: { resumeMs: KEPT_MS } }
const OF_AGENT = resolveSettings({}, 'default', OF_CLIENT)
const MACHINE = 'home'

interface User {
  readonly name: string
  readonly agent: Agent
  readonly tunnel: TunnelService
  readonly streams: Duplex[]
  /** Leaves in the midst of everything. */
  readonly vanishes: boolean
}

/** What has been done so often. */
export interface Deeds {
  users: number
  /** Links of clients and agents that were made, again or for the first time. */
  links: number
  streams: number
  requests: number
  cuts: number
  /** Streams that went on after a cut. */
  resumes: number
  refusals: number
  /** Users who left without a word, in the middle of everything. */
  vanished: number
}

/**
 * A proxy, the machines behind it and their users, all in this process, so that what any of them does not let go of is
 * seen. Each user comes with a machine, uses streams of each kind under cuts, leaves in order or not, and never comes again.
 */
export class Soak {
  readonly deeds: Deeds = {
    ...{ users: 0, links: 0, streams: 0, requests: 0 },
    ...{ cuts: 0, resumes: 0, refusals: 0, vanished: 0 },
  }
  /** Of the process, before anybody came. */
  readonly idleDescriptors = descriptors()
  readonly #proxy: TestProxy
  readonly #ssh: string
  readonly #echo: string
  readonly #web: number
  /** Whose keys the machines' SSH server takes. */
  readonly #present: Set<string>

  private constructor(proxy: TestProxy, ssh: string, echo: string, web: number, present: Set<string>) {
    this.#proxy = proxy
    this.#ssh = ssh
    this.#echo = echo
    this.#web = web
    this.#present = present
    proxy.app.websocketServer.on('connection', () => this.deeds.links++)
  }

  static async start(scope: Scope): Promise<Soak> {
    const short = [`streams.resumeMs=${KEPT_MS}`, `pool.idleMs=${KEPT_MS}`, 'breaker.maxCircuits=20']
    const proxy = await startProxy(scope, { set: short })
    const present = new Set<string>()
    const sshServer = await startSshServer({
      hostKey: newKeyPair('soak').private,
      user: userInfo().username,
      authorizedKeys: () => [...present].map((user) => proxy.app.ssh.publicKey(user)).join('\n'),
    })
    scope.after(() => sshServer.close())
    const echo = await listenTcp(scope, (socket) => socket.pipe(socket))
    const web = createServer((request, response) => request.pipe(response)).listen(0, '127.0.0.1')
    await once(web, 'listening')
    scope.after(() => web.close())
    const { port } = web.address() as AddressInfo
    return new Soak(proxy, `127.0.0.1:${sshServer.port}`, echo, port, present)
  }

  /** So many users come, live side by side under cuts that meet all of them, and have left when this resolves. */
  async live(count: number): Promise<void> {
    const users = await Promise.all(Array.from({ length: count }, () => this.#come()))
    await Promise.all(users.map((user) => this.#refused(user)))
    await Promise.all(users.map((user) => this.#open(user)))
    for (const roles of [['client'], ['agent'], ['client', 'agent']] as const) {
      this.#proxy.cut(...roles)
      this.deeds.cuts++
      await Promise.all(users.map((user) => this.#goOn(user)))
    }
    await Promise.all(users.map((user) => this.#leave(user)))
  }

  /** What is held when nobody is there, and what was kept for a while is over. */
  async held(): Promise<Held> {
    const { app, log } = this.#proxy
    await new Promise((resolve) => setTimeout(resolve, KEPT_MS))
    // What goes when the next one comes goes now.
    await this.live(1)
    await until(() => app.links.list().length === 0 && app.forward.overview.list().length === 0)
    await until(() => app.pool.connections(undefined).length === 0)
    log.length = 0
    return held()
  }

  async #come(): Promise<User> {
    const index = ++this.deeds.users
    const name = `user-${index}`
    this.#present.add(name)
    const token = this.#proxy.tokenOf(name)
    const agent = new Agent({
      ...{ urls: [this.#proxy.url], machine: MACHINE, token },
      ...{ ssh: this.#ssh, allow: [this.#echo], settings: OF_AGENT },
    })
    const tunnel = new TunnelService({ url: this.#proxy.url, token, settings: OF_CLIENT })
    await agent.start()
    await tunnel.connect()
    return { name, agent, tunnel, streams: [], vanishes: index % 3 === 0 }
  }

  /** What is refused, each at another place. */
  async #refused({ tunnel }: User): Promise<void> {
    await assert.rejects(tunnel.exec('nowhere', 'true'), { code: 'MACHINE_UNKNOWN' })
    await assert.rejects(tunnel.open({ machine: MACHINE, kind: 'ssh', target: '127.0.0.1:1' }))
    await assert.rejects(tunnel.open({ machine: MACHINE, kind: 'tcp', target: '127.0.0.1:1' }))
    const stranger = new TunnelService({
      url: this.#proxy.url,
      token: 'tunnel.of.nobody',
      settings: OF_CLIENT,
    })
    await assert.rejects(stranger.connect(), { code: 'TOKEN_INVALID' })
    await stranger.disconnect(0)
    this.deeds.refusals += 4
  }

  /** Streams that stay, sealed and inspected, and some that are soon over. */
  async #open({ tunnel, streams }: User): Promise<void> {
    const target = this.#echo
    for (const kind of ['ssh', 'tcp'] as const)
      streams.push(await tunnel.open({ machine: MACHINE, kind, target }))
    await Promise.all(streams.map(echoed))
    const { stdout } = await tunnel.exec(MACHINE, ['cat'], { stdin: 'a command' })
    assert.equal(String(stdout), 'a command')
    this.deeds.streams += streams.length + 1
    for (const body of ['one', 'another']) {
      const response = await tunnel.fetch(`http://${MACHINE}:${this.#web}/`, { method: 'PUT', body })
      assert.equal(await response.text(), body)
      this.deeds.requests++
    }
  }

  async #goOn({ streams }: User): Promise<void> {
    await Promise.all(streams.map(echoed))
    this.deeds.resumes += streams.length
  }

  async #leave({ name, agent, tunnel, streams, vanishes }: User): Promise<void> {
    if (vanishes) {
      tunnel.exec(MACHINE, 'sleep 60').catch(() => {})
      streams.forEach(drop)
      this.deeds.vanished++
    } else {
      for (const stream of streams) stream.resume().end()
      await Promise.all(streams.map((stream) => once(stream, 'close')))
    }
    await tunnel.disconnect(0)
    await agent.close()
    // Until then the proxy remembers the machine's host key.
    const { statusCode } = await this.#proxy.app.inject({
      method: 'DELETE',
      url: `/api/tunnel/machines/${MACHINE}`,
      headers: { authorization: `Bearer ${this.#proxy.tokenOf(name)}` },
    })
    assert.equal(statusCode, 204)
    this.#present.delete(name)
  }
}

async function echoed(stream: Duplex): Promise<void> {
  const answered = once(stream, 'data')
  stream.write('over and back')
  await answered
}
