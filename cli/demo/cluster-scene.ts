import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { ClusterAnswer } from '../cluster-report.ts'
import type { Narrator } from './narrator.ts'
import { startRedis } from './redis.ts'
import { RoundRobin } from './round-robin.ts'
import { PROFILE, startAgent } from './scene.ts'
import { sshCommand } from './ssh-client.ts'
import { freePort, startSshServer } from './ssh-server.ts'
import { endChild, lineOf, SERVER, STEP_MS, type Stage } from './stage.ts'

const REPLICAS = 3
/** At how many of them an agent is at home. */
const HOMES = 2
const LOOK_EVERY_MS = 100

export interface Replica {
  id: string
  port: number
  child: ChildProcess
}

/** The parts on their feet: an SSH server, Redis, replicas behind a balancer, and an agent. */
export class ClusterScene {
  readonly stage: Stage
  /** Those that take part, the oldest first. */
  readonly replicas: Replica[] = []
  readonly #balancer: RoundRobin
  readonly #ssh: string[]
  #token = ''
  #started = 0

  private constructor(stage: Stage, balancer: RoundRobin, ssh: string[]) {
    this.stage = stage
    this.#balancer = balancer
    this.#ssh = ssh
  }

  /** @param redis where redis-server is */
  static async build(stage: Stage, say: Narrator, embedded: boolean, redis: string): Promise<ClusterScene> {
    const server = await startSshServer(stage, embedded)
    say.done(`an SSH server: ${server.kind}, as ${server.user}, on 127.0.0.1:${server.port}`)
    const { url, port } = await startRedis(stage, redis)
    say.done(`Redis, a real one: redis-server, on 127.0.0.1:${port}`)
    const balancer = await RoundRobin.listen()
    stage.onClose(() => balancer.close())
    say.done(`a balancer at ${balancer.url}, which takes the proxies in turn`)

    stage.setEnv('TUNNEL_URL', balancer.url)
    stage.setEnv('TUNNEL_PROFILE', PROFILE)
    stage.setEnv('TUNNEL_STATE_STORE', 'redis')
    stage.setEnv('TUNNEL_STATE_REDIS_URL', url)
    stage.setEnv('TUNNEL_CLUSTER_SECRET', randomBytes(32).toString('hex'))
    const scene = new ClusterScene(stage, balancer, sshCommand(stage, server, embedded))
    await Promise.all(Array.from({ length: REPLICAS }, () => scene.add()))
    scene.replicas.sort((one, other) => one.id.localeCompare(other.id))
    for (const { id, child, port } of scene.replicas)
      say.done(`${id}: tunnel server, process ${child.pid}, on 127.0.0.1:${port}`)

    // To look at replicas is for administrators.
    const token = await stage.run(['token', '--sub', server.user, '--tier', 'enterprise', '--role', 'admin'])
    if (token.status !== 0) throw new Error(token.stderr.trim())
    scene.#token = token.stdout.trim()
    stage.setEnv('TUNNEL_TOKEN', scene.#token)
    const agent = await startAgent(stage, server.port)
    say.done(`an agent: tunnel agent --machine home, process ${agent.pid}, by the balancer`)
    return scene
  }

  readonly startSsh = (command: string): ChildProcess => {
    const [program = '', ...args] = this.#ssh
    return this.stage.spawn(program, [...args, command])
  }

  /** One more, which is ready, and which the balancer knows. */
  async add(): Promise<Replica> {
    const id = `replica-${++this.#started}`
    const [port, meshPort] = [await freePort(), await freePort()]
    const settings = [
      ...['cluster.enabled=true', `cluster.id=${id}`, `audit.dir=${this.stage.path('audit', id)}`],
      ...[`cluster.port=${meshPort}`, `cluster.url=http://127.0.0.1:${meshPort}`],
    ].flatMap((setting) => ['--set', setting])
    const child = this.stage.tunnel([...SERVER, '--port', String(port), ...settings])
    await lineOf(child, /listening/i, id)
    const ready = `http://127.0.0.1:${port}/api/tunnel/health/ready`
    if (!(await within(async () => (await fetch(ready, CLOSE)).ok))) throw new Error(`${id} is not ready`)
    const replica = { id, port, child }
    this.replicas.push(replica)
    await this.#route()
    return replica
  }

  /**
   * Asks it to leave, and waits until it has left; the balancer learns of it afterwards.
   * @returns its exit status, null when it had to be killed
   */
  async remove(replica: Replica): Promise<number | null> {
    await endChild(replica.child, 'SIGTERM', STEP_MS)
    this.replicas.splice(this.replicas.indexOf(replica), 1)
    await this.#route()
    return replica.child.exitCode
  }

  /** Resolves when each replica has a link to each other and the agent has its homes, or that takes too long. */
  async settled(): Promise<void> {
    await within(async () => {
      const answers = await Promise.all(this.replicas.map((replica) => this.#overviewOf(replica)))
      return answers.every(
        (answer) =>
          answer.enabled &&
          answer.replicas.length === this.replicas.length &&
          answer.machines[0]?.homes.length === HOMES,
      )
    })
  }

  async #overviewOf({ port }: Replica): Promise<ClusterAnswer> {
    const headers = { ...CLOSE.headers, authorization: `Bearer ${this.#token}` }
    const response = await fetch(`http://127.0.0.1:${port}/api/tunnel/cluster`, { headers })
    return response.ok ? ((await response.json()) as ClusterAnswer) : { enabled: false }
  }

  #route(): Promise<void> {
    return this.#balancer.route(this.replicas.map(({ port }) => port))
  }
}

/** A connection that is kept would be in the way of a replica that leaves. */
const CLOSE = { headers: { connection: 'close' } }

/** Looks again and again; false when it has not come true within `STEP_MS`. */
async function within(isTrue: () => Promise<boolean>): Promise<boolean> {
  const deadlineMs = performance.now() + STEP_MS
  while (!(await isTrue().catch(() => false))) {
    if (performance.now() > deadlineMs) return false
    await delay(LOOK_EVERY_MS, undefined, { ref: false })
  }
  return true
}
