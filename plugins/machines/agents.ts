import { Budget } from '../../protocol/budget.ts'
import { TunnelError } from '../../protocol/errors.ts'
import type { Link } from '../../protocol/link.ts'
import { StreamOpener } from '../../protocol/opener.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { machineOffline, takenOver } from './errors.ts'
import { keyOf } from './records.ts'

/** An agent that is on line, or was within the resume window. */
interface Agent {
  owner: string
  name: string
  /** The streams that the proxy itself has opened to it: they wait for its next link. */
  opener: StreamOpener
  link: Link | undefined
  since: Date
  /** Until then all that is known of it is that somebody waits for it. */
  wasOnline: boolean
  forget: NodeJS.Timeout | undefined
  /** Told when there is a link. */
  waiting: Set<(link: Link) => void>
}

/** How long an OPEN waits for an agent that may be dialling, in ms. */
const REDIAL_GRACE_MS = 5_000

/** The agents' links, by owner and name; the newest link of a name holds it. */
export class Agents {
  readonly #settings: StreamsOptions
  readonly #agents = new Map<string, Agent>()
  readonly #began = new Date()
  #closed = false

  constructor(settings: StreamsOptions) {
    this.#settings = settings
  }

  /** `link` is the agent's from now on; another program that had the name is told and closed. */
  attach(owner: string, name: string, link: Link): void {
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    clearTimeout(agent.forget)
    agent.forget = undefined
    const older = agent.link
    agent.link = link
    agent.wasOnline = true
    agent.since = new Date()
    agent.opener.attach(link)
    const waiting = [...agent.waiting]
    agent.waiting.clear()
    for (const go of waiting) go(link)
    // The same program that has moved closes its older link itself.
    const same = older?.peer?.instance !== undefined && older.peer.instance === link.peer?.instance
    if (older !== undefined && !same) older.close(takenOver(name))
  }

  #add(owner: string, name: string): Agent {
    const opener = new StreamOpener({
      settings: this.#settings,
      budget: new Budget(this.#settings.userBudgetBytes),
    })
    const agent: Agent = {
      owner,
      name,
      opener,
      link: undefined,
      since: new Date(),
      wasOnline: false,
      forget: undefined,
      waiting: new Set(),
    }
    this.#agents.set(keyOf(owner, name), agent)
    return agent
  }

  /** A link has ended. What stood on it waits for the agent's next. */
  detach(owner: string, name: string, link: Link): void {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent === undefined || agent.link !== link) return
    agent.link = undefined
    agent.since = new Date()
    agent.forget = setTimeout(() => this.#forget(agent), this.#settings.resumeMs).unref()
  }

  #forget(agent: Agent): void {
    clearTimeout(agent.forget)
    const key = keyOf(agent.owner, agent.name)
    if (this.#agents.get(key) === agent) this.#agents.delete(key)
    agent.opener.close(
      new TunnelError('AGENT_LOST', `the agent of ${agent.name} did not come back`, { hop: 'agent' }),
    )
  }

  isOnline(owner: string, name: string): boolean {
    return this.#agents.get(keyOf(owner, name))?.link !== undefined
  }

  /** Since when it is as it is. */
  get(
    owner: string,
    name: string,
  ): { link: Link | undefined; since: Date; opener: StreamOpener } | undefined {
    return this.#agents.get(keyOf(owner, name))
  }

  namesOf(owner: string): string[] {
    return [...this.#agents.values()].filter((agent) => agent.owner === owner).map((agent) => agent.name)
  }

  get count(): number {
    let count = 0
    for (const agent of this.#agents.values()) if (agent.link !== undefined) count++
    return count
  }

  /**
   * The agent's link; one that was lost a moment ago gets that long to be back, and so does every one when this proxy
   * has only begun: its predecessor's agents are on their way.
   * @throws {TunnelError} MACHINE_OFFLINE
   */
  link(owner: string, name: string): Promise<Link> {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent?.link !== undefined) return Promise.resolve(agent.link)
    const goneSince = agent?.wasOnline === true ? agent.since : this.#began
    const leftMs = goneSince.getTime() + REDIAL_GRACE_MS - Date.now()
    if (this.#closed || leftMs <= 0) return Promise.reject(machineOffline(name))
    return new Promise((resolve, reject) => {
      const stop = this.whenOnline(owner, name, (link) => {
        clearTimeout(timer)
        resolve(link)
      })
      const timer = setTimeout(() => {
        stop()
        reject(machineOffline(name))
      }, leftMs).unref()
    })
  }

  /** Calls `go` with the agent's link, now or when it has one; returns what ends the wait. */
  whenOnline(owner: string, name: string, go: (link: Link) => void): () => void {
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    if (agent.link !== undefined) {
      go(agent.link)
      return () => {}
    }
    agent.waiting.add(go)
    agent.forget ??= setTimeout(() => this.#forget(agent), this.#settings.resumeMs).unref()
    return () => {
      agent.waiting.delete(go)
      if (!agent.wasOnline && agent.waiting.size === 0) this.#forget(agent)
    }
  }

  close(): void {
    this.#closed = true
    const error = new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy' })
    for (const agent of this.#agents.values()) {
      clearTimeout(agent.forget)
      agent.opener.close(error)
    }
    this.#agents.clear()
  }
}
