import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { signToken } from '../../plugins/auth/tokens.ts'
import { liveBytes, TELLS_MEMORY } from '../support/memory.ts'
import { type Program, spawnProgram } from '../support/process.ts'
import { until } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { TUNNEL_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'

/** What a proxy holds. */
export interface Held {
  descriptors: number
  liveBytes: number
}

/** A proxy as a process, with strangers before its door and one honest user who goes on asking. */
export class Door {
  readonly #proxy: Program
  readonly #url: URL
  readonly #token: string
  /** What the honest user's requests took, in ms. */
  #took: number[] = []

  private constructor(proxy: Program, url: URL, token: string) {
    this.#proxy = proxy
    this.#url = url
    this.#token = token
  }

  static async start(scope: Scope): Promise<Door> {
    const folder = await tempFolder(scope, 'abuse')
    const secret = randomBytes(32).toString('hex')
    const limits = [
      ...['rateLimit.perIpPerMinute=1000000', 'server.socketsPerIp=5000'],
      // The honest user asks without a pause, and pays for that alone.
      ...['rateLimit.tiers.free.perMinute=1000000', 'rateLimit.tiers.free.burst=1000000'],
    ]
    const set = limits.flatMap((setting) => ['--set', setting])
    const proxy = spawnProgram(scope, process.execPath, [TUNNEL_CLI, 'server', '--port', '0', ...set], {
      env: {
        ...process.env,
        ...{ HOME: folder, TUNNEL_STATE_DIR: `${folder}/state`, NODE_OPTIONS: TELLS_MEMORY },
        ...{ TUNNEL_JWT_SECRET: secret, TUNNEL_MASTER_SECRET: randomBytes(32).toString('hex') },
      },
    })
    const [, url = ''] = await proxy.line(/listening at (http:\S+?)"/)
    return new Door(proxy, new URL(url), signToken(secret, { sub: 'honest', ttlSeconds: 3_600 }))
  }

  get #place() {
    return { host: this.#url.hostname, port: Number(this.#url.port) }
  }

  #descriptors(): number {
    return readdirSync(`/proc/${this.#proxy.pid}/fd`).length
  }

  async held(): Promise<Held> {
    return { descriptors: this.#descriptors(), liveBytes: await liveBytes(this.#proxy) }
  }

  /** Resolves when the proxy has no more descriptors than these. */
  async settled(descriptors: number): Promise<void> {
    await until(() => this.#descriptors() <= descriptors, 60_000)
  }

  /** So many upgrades that are refused, `parallel` at a time; answers with the statuses that came. */
  async refusedUpgrades(count: number, parallel = 50): Promise<Map<number, number>> {
    const statuses = new Map<number, number>()
    let left = count
    const worker = async (): Promise<void> => {
      while (left-- > 0) {
        const status = await this.#upgrade(left)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    }
    await Promise.all(Array.from({ length: parallel }, worker))
    return statuses
  }

  /** Each in another way: no token, a wrong one, a wrong ticket, a foreign origin, no route. */
  async #upgrade(index: number): Promise<number> {
    const ways: [path: string, headers: string[]][] = [
      ['connect', []],
      ['connect', ['authorization: Bearer a.b.c']],
      [`connect?ticket=tunnel-ticket.${'a'.repeat(32)}`, []],
      ['connect', ['origin: https://evil.example', `authorization: Bearer ${this.#token}`]],
      ['agent', ['authorization: Basic AAAA']],
      ['nowhere', []],
    ]
    const [path, more] = ways[index % ways.length]!
    const socket = connect(this.#place)
    socket.on('error', () => {})
    const head = [
      `GET /api/tunnel/${path} HTTP/1.1`,
      `host: ${this.#url.host}`,
      ...['connection: Upgrade', 'upgrade: websocket', 'sec-websocket-version: 13'],
      ...['sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-protocol: tunnel.v1'],
      ...more,
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    let answer = ''
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text
    })
    await once(socket, 'close')
    return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0)
  }

  /** So many connections on which half a request comes and nothing more; call what is returned to give them up. */
  async slowHandshakes(count: number): Promise<() => void> {
    const sockets: Socket[] = []
    for (let index = 0; index < count; index++) {
      const socket = connect(this.#place)
      socket.on('error', () => {})
      sockets.push(socket)
      // Nothing, half a line, or half a head.
      const part = ['', 'GET /api/tun', 'GET /api/tunnel/connect HTTP/1.1\r\nhost: x\r\nupgrade: web'][
        index % 3
      ]!
      await once(socket, 'connect')
      if (part !== '') socket.write(part)
    }
    return () => {
      for (const socket of sockets) socket.destroy()
    }
  }

  /** The honest user asks until `during` is over; answers with how long the slowest twentieth took, in ms. */
  async honestP95Ms(during: Promise<unknown>): Promise<{ count: number; p95Ms: number }> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    let isOver = false
    void during.finally(() => {
      isOver = true
    })
    this.#took = []
    do {
      const sentMs = performance.now()
      const options = { agent, headers: { authorization: `Bearer ${this.#token}` } }
      const status = await new Promise<number>((resolve, reject) => {
        get(new URL('/api/tunnel/machines', this.#url), options, (response) => {
          response.resume().once('end', () => resolve(response.statusCode ?? 0))
        }).once('error', reject)
      })
      if (status !== 200) throw new Error(`the honest user was answered ${status}`)
      this.#took.push(performance.now() - sentMs)
    } while (!isOver || this.#took.length < 20)
    agent.destroy()
    const sorted = this.#took.sort((one, other) => one - other)
    return { count: sorted.length, p95Ms: sorted[Math.floor((sorted.length - 1) * 0.95)]! }
  }
}
