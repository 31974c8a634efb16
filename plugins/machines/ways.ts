import type { Duplex } from 'node:stream'
import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { AskedHead, Vouched } from '../../protocol/codec/heads.ts'
import type { TraceContext } from '../../protocol/codec/trace-context.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { User } from '../auth/index.ts'
import type { Agent } from './agent.ts'
import { type AgentTable, openSsh } from './agent-table.ts'
import { machineOffline, tokenStale } from './errors.ts'
import { programOf } from './homes.ts'

/** How long an OPEN waits for an agent that may be dialling, in ms. */
const REDIAL_GRACE_MS = 5_000
/** How long it is tried to hear from all other replicas whether one of them has an agent, in ms. */
const ASK_MS = 3_000

/** Resolves when what other replicas had to tell by now was heard: with false where not all could be asked. */
export type AskOthers = () => Promise<boolean>

/** How streams reach the agents: over a link that one has here, or else through another replica. */
export class AgentWays {
  readonly #table: AgentTable
  readonly #clock: Clock
  readonly #beganMs: number
  #others: AskOthers | undefined
  #closed = false

  constructor(table: AgentTable, clock: Clock) {
    this.#table = table
    this.#clock = clock
    this.#beganMs = clock.now()
  }

  /** From now on they are asked before an agent is said to be off line. */
  askOthers(others: AskOthers): void {
    this.#others = others
  }

  /**
   * The agent's link, or that to another replica which has one; one that was lost a moment ago gets that long to be
   * back, and so does every one when this proxy has only begun: its predecessor's agents are on their way.
   * @throws {TunnelError} MACHINE_OFFLINE, also where its token has expired
   */
  link(owner: string, name: string): Promise<Link> {
    const agent = this.#table.find(owner, name)
    const link = linkOf(agent)
    if (agent !== undefined && link !== undefined) {
      const isStale = agent.links.length > 0 && !agent.isFresh()
      return isStale ? Promise.reject(tokenStale(name)) : Promise.resolve(link)
    }
    const goneSinceMs = agent?.wasOnline === true ? agent.sinceMs : this.#beganMs
    const leftMs = goneSinceMs + REDIAL_GRACE_MS - this.#clock.now()
    if (this.#closed || (leftMs <= 0 && this.#others === undefined))
      return Promise.reject(machineOffline(name))
    return this.#await(owner, name, Math.max(0, leftMs))
  }

  #await(owner: string, name: string, graceMs: number): Promise<Link> {
    return new Promise((resolve, reject) => {
      const go = (found: Link): void => {
        this.#clock.clearTimer(timer)
        resolve(found)
      }
      const giveUp = (): void => {
        this.#clock.clearTimer(timer)
        stop()
        reject(machineOffline(name))
      }
      const ask = (): void => {
        if (this.#others === undefined) return giveUp()
        timer = this.#clock.setTimer(giveUp, ASK_MS)
        // Those who can all be asked are soon sure.
        void this.#others().then((isSure) => isSure && giveUp())
      }
      let timer: unknown
      const stop = this.whenOnline(owner, name, go, giveUp)
      if (graceMs === 0) ask()
      else timer = this.#clock.setTimer(ask, graceMs)
    })
  }

  /**
   * Calls `go` with the agent's link, now or when it has one, or `gone` when the agent is forgotten; returns what ends
   * the wait.
   */
  whenOnline(
    owner: string,
    name: string,
    go: (link: Link) => void,
    gone: (error: TunnelError) => void,
  ): () => void {
    const agent = this.#table.get(owner, name)
    const link = linkOf(agent)
    if (link !== undefined) {
      go(link)
      return () => {}
    }
    const waiter = { go, gone }
    agent.waiting.add(waiter)
    this.#table.forgetLater(agent)
    return () => {
      agent.waiting.delete(waiter)
      if (!agent.wasOnline && agent.waiting.size === 0) this.#table.forget(agent)
    }
  }

  /** A stream of the proxy's own to the machine's SSH server, in a user's name. @throws {TunnelError} as `link`, or what the agent answers */
  async dial(
    owner: string,
    name: string,
    user: Pick<User, 'sub' | 'tier'>,
    trace: TraceContext,
  ): Promise<Duplex> {
    const { opener, homes } = await this.#agent(owner, name)
    return openSsh(opener, headOf({ owner, name, homes }, user, trace))
  }

  /** What `host` stands for on the machine, as `AgentNames.ask` says. @throws {TunnelError} also as `link` */
  async lookup(
    owner: string,
    name: string,
    user: Pick<User, 'sub' | 'tier'>,
    host: string,
    signal: AbortSignal,
  ): Promise<string[]> {
    const { names, homes, links } = await this.#agent(owner, name)
    const link = links.at(-1)
    const { instance = '' } = (link === undefined ? homes.program : programOf(link)) ?? {}
    return names.ask(host, instance, headOf({ owner, name, homes }, user, {}), signal)
  }

  /** One that has a link, here or elsewhere. */
  async #agent(owner: string, name: string): Promise<Agent> {
    await this.link(owner, name)
    const agent = this.#table.find(owner, name)
    if (agent === undefined) throw machineOffline(name)
    return agent
  }

  /** Nobody waits any more. */
  close(): void {
    this.#closed = true
  }
}

/** What a stream of the proxy's own says of whose it is. */
function headOf(
  { owner, name, homes }: Pick<Agent, 'owner' | 'name' | 'homes'>,
  { sub, tier }: Pick<User, 'sub' | 'tier'>,
  trace: TraceContext,
): Pick<AskedHead, 'machine'> & Vouched & TraceContext {
  const head = { machine: name, subject: sub, ...trace }
  if (homes.isEmpty) return head
  // It may come to its agent through another replica, which knows neither the machine's owner nor the user.
  return { ...head, tier, ...(owner !== sub && { owner }) }
}

/** Its own, or else the way to it through another replica. */
function linkOf(agent: Agent | undefined): Link | undefined {
  return agent?.links.at(-1) ?? agent?.homes.link
}
