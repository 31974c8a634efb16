import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { waitOut } from '../../cli/wait-out.ts'
import { TunnelService } from '../../client/index.ts'
import { signToken } from '../../plugins/auth/tokens.ts'
import { processFacts } from '../support/proc.ts'
import { type Program, spawnProgram } from '../support/process.ts'
import { listenTcp } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import { MACHINE, TUNNEL_CLI, WITHOUT_PAGES } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'

const FLOODER = fileURLToPath(new URL('./flooder.mjs', import.meta.url))
const ATTACKER = fileURLToPath(new URL('../abuse/attacker.mjs', import.meta.url))
export const FLOODS = [
  ...['malformed OPEN', 'refused OPEN', 'unknown RESUME', 'deep JSON', 'AUTH', 'PING'],
] as const
/** What a user does on links and requests of their own, to a machine of their own. */
export const ATTACKS = [
  ...['slow readers', 'unread answers', 'tiny frames', 'empty windows', 'resumes', 'small requests'],
  ...['refused requests', 'unfinished uploads', 'slow headers', 'bodies in bytes', 'endless bodies'],
  'uploads in bytes',
] as const
/** Between two keystrokes of the innocent user, in ms. */
const KEYSTROKE_MS = 15

/** How long the innocent user's keystrokes took to come back, in ms. */
export interface Echoes {
  count: number
  p50Ms: number
  p95Ms: number
  maxMs: number
}

export interface Attacked extends Echoes {
  grownBytes: number
  cores: number
}

/** Between two looks at the proxy's memory, in ms. */
const LOOK_MS = 20

/** A proxy and an agent as processes, an innocent user's session through them, and a flood by another user beside it. */
export class Scene {
  readonly #scope: Scope
  readonly #url: string
  readonly #token: string
  readonly #session: Duplex
  readonly #proxy: Program

  private constructor(scope: Scope, url: string, token: string, session: Duplex, proxy: Program) {
    this.#proxy = proxy
    this.#scope = scope
    this.#url = url
    this.#token = token
    this.#session = session
  }

  static async start(scope: Scope): Promise<Scene> {
    const folder = await tempFolder(scope, 'flood')
    const secret = randomBytes(32).toString('hex')
    const env = {
      ...process.env,
      HOME: folder,
      TUNNEL_STATE_DIR: `${folder}/state`,
      TUNNEL_JWT_SECRET: secret,
      TUNNEL_MASTER_SECRET: randomBytes(32).toString('hex'),
    }
    const tokenOf = (sub: string) => signToken(secret, { sub, tier: 'free', ttlSeconds: 3_600 })
    const program = (words: string[], more: NodeJS.ProcessEnv) =>
      spawnProgram(scope, process.execPath, [TUNNEL_CLI, ...words], { env: { ...env, ...more } })
    // Here both have one address, and what is measured is what a user's own limits leave to others.
    const proxy = program(
      ['server', '--port', '0', '--set', 'rateLimit.perIpPerMinute=1000000'],
      WITHOUT_PAGES,
    )
    const [, url = ''] = await proxy.line(/listening at (http:\S+?)"/)
    const echo = await listenTcp(scope, (socket) => socket.setNoDelay(true).pipe(socket))
    const token = tokenOf('innocent')
    const agent = program(['agent', '--machine', MACHINE, '--ssh', echo, '--url', url], {
      TUNNEL_TOKEN: token,
    })
    await agent.line(/on line/)
    const tunnel = new TunnelService({ url, token })
    await tunnel.connect()
    scope.after(() => tunnel.disconnect(0))
    // A proxy that has only started may be late, and refuses streams for a moment.
    const open = () => tunnel.open({ machine: MACHINE, kind: 'ssh' })
    const session = await waitOut(open, () => {})
    return new Scene(scope, url, tokenOf('flooder'), session, proxy)
  }

  /** One keystroke after the other, for `ms`. */
  async echoes(ms: number): Promise<Echoes> {
    const took: number[] = []
    const endMs = performance.now() + ms
    while (performance.now() < endMs) {
      const sentMs = performance.now()
      this.#session.write('k')
      await once(this.#session, 'data')
      took.push(performance.now() - sentMs)
      await sleep(KEYSTROKE_MS)
    }
    took.sort((a, b) => a - b)
    const at = (part: number): number => took[Math.floor((took.length - 1) * part)]!
    return { count: took.length, p50Ms: at(0.5), p95Ms: at(0.95), maxMs: at(1) }
  }

  /**
   * An attack, and what it costs: echoes, memory at its height beyond what was held before, in bytes, and the proxy's
   * share of a core.
   */
  async attacked(kind: string, links: number, ms: number): Promise<Attacked> {
    const facts = () => processFacts(this.#proxy.pid) ?? { residentBytes: 0, cpuSeconds: 0 }
    const before = facts()
    const sinceMs = performance.now()
    let peakBytes = before.residentBytes
    const look = setInterval(() => {
      peakBytes = Math.max(peakBytes, facts().residentBytes)
    }, LOOK_MS)
    try {
      const echoes = await this.beside(kind, links, ms)
      const seconds = (performance.now() - sinceMs) / 1_000
      const cores = (facts().cpuSeconds - before.cpuSeconds) / seconds
      return { ...echoes, grownBytes: peakBytes - before.residentBytes, cores }
    } finally {
      clearInterval(look)
    }
  }

  /** The same beside a flood, or an attack, on so many links. */
  async beside(kind: string, links: number, ms: number): Promise<Echoes> {
    const program = FLOODS.some((flood) => flood === kind) ? FLOODER : ATTACKER
    const attack = [process.execPath, program, this.#url, kind, String(links)]
    // An attacker has a computer of their own: what this one computes for them must not be what holds others up.
    const flooder = spawnProgram(this.#scope, 'nice', ['-n', '19', ...attack], {
      env: { ...process.env, FLOOD_TOKEN: this.#token },
    })
    await flooder.line('flooding')
    try {
      return await this.echoes(ms)
    } finally {
      flooder.kill('SIGKILL')
      await flooder.exit
    }
  }
}
