import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { AskedHead, Vouched } from '../../protocol/codec/heads.ts'
import type { Link } from '../../protocol/link/link.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import type { User } from '../auth/index.ts'
import type { Agent, AgentHomes, AgentLink, KnownAgent, Presence, PresenceListener } from './agent.ts'
import { machineOffline, takenOver, tokenStale } from './errors.ts'
import { type HomeReplica, Homes, isLater, type Program, programOf } from './homes.ts'
import { keyOf } from './records.ts'
import { Trials } from './trials.ts'

/** What the mesh of replicas has to do with the agents. */
export type MeshedAgents = Pick<
  Agents,
  'onPresence' | 'present' | 'appeared' | 'disappeared' | 'own' | 'elsewhere' | 'everywhere'
>

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
  readonly #listeners: PresenceListener[] = []
  #closed = false

  /** @param probeMs how often each agent is tried as far as the machine's SSH server; 0: never */
  constructor(settings: StreamsOptions, clock: Clock = systemClock, probeMs = 0) {
    this.#settings = settings
    this.#probeMs = probeMs
    this.#clock = clock
    this.#beganMs = clock.now()
  }

  /** Calls `listener` with each change from now on. */
  onPresence(listener: PresenceListener): void {
    this.#listeners.push(listener)
  }

  /** The agents that have a link here. */
  *present(): Generator<Presence> {
    for (const { owner, name, links } of this.#agents.values()) {
      const link = links.at(-1)
      if (link !== undefined) yield { owner, name, program: programOf(link) }
    }
  }

  /**
   * `link` is the agent's from now on; another program that had the name is told and closed.
   * @throws {TunnelError} TAKEN_OVER where a later program has the name
   */
  attach(owner: string, name: string, { link, limits, isFresh }: AgentLink): void {
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    const program = programOf(link)
    const before = this.#programOf(agent)
    if (before !== undefined && isSuperseded(program, before)) throw takenOver(name)
    agent.homes.keepOnly(program)
    this.#stay(agent)
    const older = agent.links
    agent.links = older.filter((each) => isSameProgram(each, link))
    agent.links.push(link)
    agent.isFresh = isFresh
    agent.budget.totalBytes = limits.budgetBytes
    if (agent.links.length > MAX_LINKS) agent.links.shift()?.close(takenOver(name))
    agent.wasOnline = true
    this.#changed(agent)
    agent.trials.start()
    this.#nowOver(agent, link)
    if (before?.instance !== program.instance || older.length === 0)
      for (const listener of this.#listeners) listener.present({ owner, name, program })
    for (const each of older) {
      // The same program closes its older link itself, when it can: one that changed its address cannot.
      if (isSameProgram(each, link)) each.probe(PROBE_MS)
      else each.close(takenOver(name))
    }
  }

  /** Whose the name is, here. */
  #programOf({ links }: Agent): Program | undefined {
    const link = links.at(-1)
    return link === undefined ? undefined : programOf(link)
  }

  /** What stood on other links, and what waits for one, goes over this. */
  #nowOver(agent: Agent, link: Link): void {
    agent.opener.attach(link)
    const waiting = [...agent.waiting]
    agent.waiting.clear()
    for (const { go } of waiting) go(link)
  }

  #stay(agent: Agent): void {
    this.#clock.clearTimer(agent.forgetTimer)
    agent.forgetTimer = undefined
  }

  /** Another replica says that the agent has a link there. An older program's links here end. */
  appeared({ owner, name, program }: Presence, replica: HomeReplica): void {
    if (this.#closed) return
    const agent = this.#agents.get(keyOf(owner, name)) ?? this.#add(owner, name)
    const own = this.#programOf(agent)
    const isRival = own !== undefined && own.instance !== program.instance
    // It hears of ours, and ends that one.
    if (isRival && !isLater(program, own)) return
    if (!agent.homes.add({ program, replica })) return
    // What its owner's tier gives is known where it has a link.
    if (agent.budget.totalBytes === 0) agent.budget.totalBytes = this.#settings.userBudgetBytes
    this.#stay(agent)
    if (!agent.wasOnline || agent.links.length === 0) this.#changed(agent)
    agent.wasOnline = true
    if (isRival) for (const link of [...agent.links]) link.close(takenOver(name))
    const link = this.#linkOf(agent)
    // A replica that is further away takes nothing from one that has it.
    if (link !== undefined && agent.links.length === 0 && agent.opener.link?.closed !== false)
      this.#nowOver(agent, link)
  }

  /** It has none there any more, or the replica is away: what went there goes another way at once, or waits. */
  disappeared(owner: string, name: string, replica: HomeReplica): void {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent?.homes.delete(replica) !== true || agent.links.length > 0) return
    const next = agent.homes.link
    if (next !== undefined) {
      if (agent.opener.link === replica.link) agent.opener.attach(next)
      return
    }
    this.#changed(agent)
    this.#forgetLater(agent)
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
      homes: new Homes(),
      isFresh: () => true,
      since: new Date(),
      sinceMs: this.#clock.now(),
      wasOnline: false,
      forgetTimer: undefined,
      waiting: new Set(),
      // Of nobody: the agent dials its SSH server from an address of its own then, so that no user's is counted.
      trials: new Trials(async () => this.#dial(opener, { machine: name }), this.#probeMs, this.#clock),
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
    for (const { gone } of this.#listeners) gone(owner, name)
    const home = agent.homes.link
    if (home !== undefined) return agent.opener.attach(home)
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
    if (links.length > 0) for (const { gone } of this.#listeners) gone(owner, name)
    for (const link of links) link.close(error)
  }

  /** Its own, or else the way to it through another replica. */
  #linkOf(agent: Agent | undefined): Link | undefined {
    return agent?.links.at(-1) ?? agent?.homes.link
  }

  /** Every agent that has a link, here or at another replica. */
  *everywhere(): Generator<AgentHomes> {
    for (const { owner, name, links, homes } of this.#agents.values()) {
      const link = links.at(-1)
      const program = link === undefined ? homes.program : programOf(link)
      if (program === undefined) continue
      const route = link === undefined ? homes.best?.id : undefined
      yield { owner, name, program, isHere: link !== undefined, elsewhere: homes.ids, route }
    }
  }

  /** The agent's own link here, as it is. */
  own(owner: string, name: string): Link | undefined {
    return this.#agents.get(keyOf(owner, name))?.links.at(-1)
  }

  /** Agents that other replicas have, and this one has not. */
  get elsewhere(): number {
    let count = 0
    for (const { links, homes } of this.#agents.values()) if (links.length === 0 && !homes.isEmpty) count++
    return count
  }

  get(owner: string, name: string): KnownAgent | undefined {
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent === undefined) return undefined
    const { since, opener, links, homes, waiting, trials } = agent
    const open = links.reduce((sum, link) => sum + link.streamCount, 0)
    const suspended = links.length === 0 && homes.isEmpty ? opener.size : 0
    const link = links.at(-1)
    return {
      link,
      online: link === undefined ? !homes.isEmpty : agent.isFresh(),
      since,
      streams: { open, waiting: waiting.size + suspended },
      trial: trials.last,
    }
  }

  /**
   * The agent's link, or that to another replica which has one; one that was lost a moment ago gets that long to be back, and so does every one when this proxy
   * has only begun: its predecessor's agents are on their way.
   * @throws {TunnelError} MACHINE_OFFLINE, also where its token has expired
   */
  link(owner: string, name: string): Promise<Link> {
    const agent = this.#agents.get(keyOf(owner, name))
    const link = this.#linkOf(agent)
    if (agent !== undefined && link !== undefined) {
      const isStale = agent.links.length > 0 && !agent.isFresh()
      return isStale ? Promise.reject(tokenStale(name)) : Promise.resolve(link)
    }
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

  /** A stream of the proxy's own to the machine's SSH server, in a user's name. @throws {TunnelError} as `link`, or what the agent answers */
  async dial(
    owner: string,
    name: string,
    { sub, tier }: Pick<User, 'sub' | 'tier'>,
    traceparent: string | undefined,
  ): Promise<Duplex> {
    await this.link(owner, name)
    const agent = this.#agents.get(keyOf(owner, name))
    if (agent === undefined) throw machineOffline(name)
    const head = { machine: name, subject: sub, ...(traceparent !== undefined && { traceparent }) }
    if (agent.homes.isEmpty) return this.#dial(agent.opener, head)
    // It may come to its agent through another replica, which knows neither the machine's owner nor the user.
    return this.#dial(agent.opener, { ...head, tier, ...(owner !== sub && { owner }) })
  }

  #dial(opener: StreamOpener, head: Pick<AskedHead, 'machine' | 'traceparent'> & Vouched): Promise<Duplex> {
    return StreamDuplex.accepted(opener.open({ kind: 'ssh', ...head }))
  }

  close(): void {
    this.#closed = true
    const error = new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy' })
    for (const agent of [...this.#agents.values()]) this.#end(agent, error)
  }
}

/** Where both say their epochs. Of two that do not, the newest link has the name. */
function isSuperseded(program: Program, before: Program): boolean {
  const isOther = program.instance !== before.instance
  return isOther && program.epoch > 0 && before.epoch > 0 && isLater(before, program)
}

function isSameProgram(one: Link, other: Link): boolean {
  return one.peer?.instance !== undefined && one.peer.instance === other.peer?.instance
}
