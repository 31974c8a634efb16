import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import { machineOffline, takenOver, tokenStale } from './errors.ts'
import { keyOf } from './records.ts'
import { type Trial, Trials } from './trials.ts'

export interface AgentLink {
  link: Link
  /** What its owner's tier gives: machines in all, and what the streams that the proxy opens to this one may hold. */
  limits: { machines: number; budgetBytes: number }
  /** Whether the token that it was made with, or a fresh one, is still good. */
  isFresh(): boolean
}

export interface KnownAgent {
  link: Link | undefined
  /** It has a link, and a token with which streams may be opened over it. */
  online: boolean
  /** Since when it is as it is. */
  since: Date
  /** Streams that stand on its links, and those that wait for it to come back. */
  streams: { open: number; waiting: number }
  /** The last time that its SSH server was tried over its link. */
  trial: Trial | undefined
}

/** Whoever waits for an agent. */
interface Waiter {
  go(link: Link): void
  gone(error: TunnelError): void
}

/** An agent that is on line, or was within the resume window. */
interface Agent {
  owner: string
  name: string
  /** The streams that the proxy itself has opened to it: they wait for its next link. */
  opener: StreamOpener
  /** What they hold. */
  budget: Budget
  /** The newest is used; older ones of the same program are closing, or are dead and not yet noticed. */
  links: Link[]
  /** Of the newest link. */
  isFresh: () => boolean
  since: Date
  /** The same by the clock that never runs backwards. */
  sinceMs: number
  /** Until then all that is known of it is that somebody waits for it. */
  wasOnline: boolean
  forgetTimer: unknown
  waiting: Set<Waiter>
  /** While it has a link. */
  trials: Trials
}

/** How long an OPEN waits for an agent that may be dialling, in ms. */
const REDIAL_GRACE_MS = 5_000
/** Links of one agent at once: two while it moves, and some that are dead and not yet noticed. */
const MAX_LINKS = 4
/** What an older link has to show that it lives when its agent has made another, in ms. */
const PROBE_MS = 3_000

/** The agents' links, by owner and name; the newest link of a name holds it. */
export class Agents {
  readonly #settings: StreamsOptions
  readonly #agents = new Map<string, Agent>()
  readonly #clock: Clock
  readonly #beganMs: number
  readonly #probeMs: number
  #closed = false

  /** @param probeMs how often each agent is tried as far as the machine's SSH server; 0: never */
  constructor(settings: StreamsOptions, clock: Clock = systemClock, probeMs = 0) {
    this.#settings = settings
    this.#probeMs = probeMs
    this.#clock = clock
    this.#beganMs = clock.now()
  }

  /** `link` is the agent's from now on; another program that had the name is told and closed. */
  attach(owner: string, name: string, { link, limits, isFresh }: AgentLink): void {
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    this.#clock.clearTimer(agent.forgetTimer)
    agent.forgetTimer = undefined
    const older = agent.links
    agent.links = older.filter((each) => isSameProgram(each, link))
    agent.links.push(link)
    agent.isFresh = isFresh
    agent.budget.totalBytes = limits.budgetBytes
    if (agent.links.length > MAX_LINKS) agent.links.shift()?.close(takenOver(name))
    agent.wasOnline = true
    this.#changed(agent)
    agent.opener.attach(link)
    agent.trials.start()
    const waiting = [...agent.waiting]
    agent.waiting.clear()
    for (const { go } of waiting) go(link)
    for (const each of older) {
      // The same program closes its older link itself, when it can: one that changed its address cannot.
      if (isSameProgram(each, link)) each.probe(PROBE_MS)
      else each.close(takenOver(name))
    }
  }

  #add(owner: string, name: string): Agent {
    // Nothing is opened before there is a link, which brings its own.
    const budget = new Budget(0)
    const opener = new StreamOpener({ settings: this.#settings, budget })
    const agent: Agent = {
      owner,
      name,
      opener,
      budget,
      links: [],
      isFresh: () => true,
      since: new Date(),
      sinceMs: this.#clock.now(),
      wasOnline: false,
      forgetTimer: undefined,
      waiting: new Set(),
      // Of nobody: the agent dials its SSH server from an address of its own then, so that no user's is counted.
      trials: new Trials(async () => this.#dial(opener, name), this.#probeMs, this.#clock),
    }
    this.#agents.set(keyOf(owner, name), agent)
    return agent
  }

  /** A link has ended. What stood on it waits for the agent's next, or goes on over another that it has. */
  detach(owner: string, name: string, link: Link): void {
    const agent = this.#agents.get(keyOf(owner, name))
    const index = agent?.links.indexOf(link) ?? -1
    if (agent === undefined || index < 0) return
    const wasNewest = index === agent.links.length - 1
    agent.links.splice(index, 1)
    const next = agent.links.at(-1)
    if (!wasNewest) return
    if (next !== undefined) return agent.opener.attach(next)
    agent.trials.stop()
    this.#changed(agent)
    this.#forgetLater(agent)
  }

  #changed(agent: Agent): void {
    agent.since = new Date()
    agent.sinceMs = this.#clock.now()
  }

  #forgetLater(agent: Agent): void {
    agent.forgetTimer ??= this.#clock.setTimer(() => this.#forget(agent), this.#settings.resumeMs)
  }

  #forget(agent: Agent): void {
    const text = `the agent of ${agent.name} did not come back`
    this.#end(agent, new TunnelError('AGENT_LOST', text, { hop: 'agent' }))
  }

  #end(agent: Agent, error: TunnelError): void {
    this.#clock.clearTimer(agent.forgetTimer)
    agent.trials.stop()
    const key = keyOf(agent.owner, agent.name)
    if (this.#agents.get(key) === agent) this.#agents.delete(key)
    agent.opener.close(error)
    const waiting = [...agent.waiting]
    agent.waiting.clear()
    for (const { gone } of waiting) gone(error)
  }

  /** Its owner has removed it: all of its links end, and what waits for it. */
  forget(owner: string, name: string, error: TunnelError): void {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent === undefined) return
    const links = agent.links.splice(0)
    this.#end(agent, error)
    for (const link of links) link.close(error)
  }

  #linkOf(agent: Agent | undefined): Link | undefined {
    return agent?.links.at(-1)
  }

  get(owner: string, name: string): KnownAgent | undefined {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent === undefined) return undefined
    const { since, opener, links, waiting, trials } = agent
    const open = links.reduce((sum, link) => sum + link.streamCount, 0)
    const suspended = links.length === 0 ? opener.size : 0
    const link = this.#linkOf(agent)
    return {
      link,
      online: link !== undefined && agent.isFresh(),
      since,
      streams: { open, waiting: waiting.size + suspended },
      trial: trials.last,
    }
  }

  /**
   * The agent's link; one that was lost a moment ago gets that long to be back, and so does every one when this proxy
   * has only begun: its predecessor's agents are on their way.
   * @throws {TunnelError} MACHINE_OFFLINE, also where its token has expired
   */
  link(owner: string, name: string): Promise<Link> {
    const agent = this.#agents.get(keyOf(owner, name))
    const link = this.#linkOf(agent)
    if (agent !== undefined && link !== undefined)
      return agent.isFresh() ? Promise.resolve(link) : Promise.reject(tokenStale(name))
    const goneSinceMs = agent?.wasOnline === true ? agent.sinceMs : this.#beganMs
    const leftMs = goneSinceMs + REDIAL_GRACE_MS - this.#clock.now()
    if (this.#closed || leftMs <= 0) return Promise.reject(machineOffline(name))
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
      const stop = this.whenOnline(owner, name, go, giveUp)
      const timer = this.#clock.setTimer(giveUp, leftMs)
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
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    const link = this.#linkOf(agent)
    if (link !== undefined) {
      go(link)
      return () => {}
    }
    const waiter = { go, gone }
    agent.waiting.add(waiter)
    this.#forgetLater(agent)
    return () => {
      agent.waiting.delete(waiter)
      if (!agent.wasOnline && agent.waiting.size === 0) this.#forget(agent)
    }
  }

  /** A stream of the proxy's own to the machine's SSH server, in the name of `subject`. @throws {TunnelError} as `link`, or what the agent answers */
  async dial(owner: string, name: string, subject: string): Promise<Duplex> {
    await this.link(owner, name)
    const opener = this.#agents.get(keyOf(owner, name))?.opener
    if (opener === undefined) throw machineOffline(name)
    return this.#dial(opener, name, subject)
  }

  #dial(opener: StreamOpener, machine: string, subject?: string): Promise<Duplex> {
    return StreamDuplex.accepted(
      opener.open({ kind: 'ssh', machine, ...(subject !== undefined && { subject }) }),
    )
  }

  close(): void {
    this.#closed = true
    const error = new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy' })
    for (const agent of [...this.#agents.values()]) this.#end(agent, error)
  }
}

function isSameProgram(one: Link, other: Link): boolean {
  return one.peer?.instance !== undefined && one.peer.instance === other.peer?.instance
}
