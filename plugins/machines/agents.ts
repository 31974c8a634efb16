import { type Clock, systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import type { Agent, AgentHomes, AgentLink, KnownAgent, Presence, PresenceListener } from './agent.ts'
import { AgentTable } from './agent-table.ts'
import { takenOver } from './errors.ts'
import { type HomeReplica, isLater, type Program, programOf } from './homes.ts'
import { AgentWays } from './ways.ts'

/** What the mesh of replicas has to do with the agents. */
export type MeshedAgents = Pick<
  Agents,
  'ways' | 'onPresence' | 'present' | 'appeared' | 'disappeared' | 'own' | 'near' | 'elsewhere' | 'everywhere'
>

/** Links of one agent at once: two while it moves, and some that are dead and not yet noticed. */
const MAX_LINKS = 4
/** What an older link has to show that it lives when its agent has made another, in ms. */
const PROBE_MS = 3_000

/** The agents' links, by owner and name; the newest link of a name holds it. */
export class Agents {
  /** How streams reach them. */
  readonly ways: AgentWays
  readonly #settings: StreamsOptions
  readonly #table: AgentTable
  readonly #listeners: PresenceListener[] = []
  #closed = false

  /** @param probeMs how often each agent is tried as far as the machine's SSH server; 0: never */
  constructor(settings: StreamsOptions, clock: Clock = systemClock, probeMs = 0) {
    this.#settings = settings
    this.#table = new AgentTable(settings, clock, probeMs)
    this.ways = new AgentWays(this.#table, clock)
  }

  /** Calls `listener` with each change from now on. */
  onPresence(listener: PresenceListener): void {
    this.#listeners.push(listener)
  }

  /** The agents that have a link here. */
  *present(): Generator<Presence> {
    for (const { owner, name, links } of this.#table.all) {
      const link = links.at(-1)
      if (link !== undefined) yield { owner, name, program: programOf(link) }
    }
  }

  /**
   * `link` is the agent's from now on; another program that had the name is told and closed.
   * @throws {TunnelError} TAKEN_OVER where a later program has the name
   */
  attach(owner: string, name: string, { link, limits, isFresh }: AgentLink): void {
    const agent = this.#table.get(owner, name)
    const program = programOf(link)
    const before = this.#programOf(agent)
    const holder = before ?? agent.homes.program
    if (holder !== undefined && isSuperseded(program, holder)) throw takenOver(name)
    agent.homes.keepOnly(program)
    this.#table.stay(agent)
    const older = agent.links
    agent.links = older.filter((each) => isSameProgram(each, link))
    agent.links.push(link)
    agent.isFresh = isFresh
    agent.budget.totalBytes = limits.budgetBytes
    if (agent.links.length > MAX_LINKS) agent.links.shift()?.close(takenOver(name))
    agent.wasOnline = true
    this.#table.changed(agent)
    agent.trials.start()
    nowOver(agent, link)
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

  /** Another replica says that the agent has a link there. An older program's links here end. */
  appeared({ owner, name, program }: Presence, replica: HomeReplica): void {
    if (this.#closed) return
    const agent = this.#table.get(owner, name)
    const own = this.#programOf(agent)
    const isRival = own !== undefined && own.instance !== program.instance
    // It hears of ours, and ends that one.
    if (isRival && !isLater(program, own)) return
    if (!agent.homes.add({ program, replica })) return
    // What its owner's tier gives is known where it has a link.
    if (agent.budget.totalBytes === 0) agent.budget.totalBytes = this.#settings.userBudgetBytes
    this.#table.stay(agent)
    if (!agent.wasOnline || agent.links.length === 0) this.#table.changed(agent)
    agent.wasOnline = true
    if (isRival) for (const link of [...agent.links]) link.close(takenOver(name))
    if (agent.links.length > 0) return
    const { link } = agent.homes
    const { link: before } = agent.opener
    // It takes nothing from a home that has it.
    const stands = before?.closed === false && agent.homes.has(before)
    if (link !== undefined) nowOver(agent, stands ? before : link)
  }

  /** It has none there any more, or the replica is away: what went there goes another way at once, or waits. */
  disappeared(owner: string, name: string, replica: HomeReplica): void {
    const agent = this.#table.find(owner, name)
    if (agent?.homes.delete(replica) !== true || agent.links.length > 0) return
    const next = agent.homes.link
    if (next !== undefined) {
      // Its link may lead to another home as well.
      if (agent.opener.link === replica.link && !agent.homes.has(replica.link)) agent.opener.attach(next)
      return
    }
    this.#table.changed(agent)
    this.#table.forgetLater(agent)
  }

  /** A link has ended. What stood on it waits for the agent's next, or goes on over another that it has. */
  detach(owner: string, name: string, link: Link): void {
    const agent = this.#table.find(owner, name)
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
    this.#table.changed(agent)
    this.#table.forgetLater(agent)
  }

  /** Its owner has removed it: all of its links end, and what waits for it. */
  forget(owner: string, name: string, error: TunnelError): void {
    const agent = this.#table.find(owner, name)
    if (agent === undefined) return
    const links = agent.links.splice(0)
    this.#table.end(agent, error)
    if (links.length > 0) for (const { gone } of this.#listeners) gone(owner, name)
    for (const link of links) link.close(error)
  }

  /** Every agent that has a link, here or at another replica. */
  *everywhere(): Generator<AgentHomes> {
    for (const { owner, name, links, homes } of this.#table.all) {
      const link = links.at(-1)
      const program = link === undefined ? homes.program : programOf(link)
      if (program === undefined) continue
      const best = link === undefined ? homes.best : undefined
      const way = { isHere: link !== undefined, elsewhere: homes.ids, route: best?.id, via: best?.via }
      yield { owner, name, program, ...way }
    }
  }

  /** The agent's own link here, as it is. */
  own(owner: string, name: string): Link | undefined {
    return this.#table.find(owner, name)?.links.at(-1)
  }

  /** The link to another replica that has the agent's own; this one has it from `except`. */
  near(owner: string, name: string, except: Link): Link | undefined {
    return this.#table.find(owner, name)?.homes.nearLink(except)
  }

  /** Agents that other replicas have, and this one has not. */
  get elsewhere(): number {
    let count = 0
    for (const { links, homes } of this.#table.all) if (links.length === 0 && !homes.isEmpty) count++
    return count
  }

  get(owner: string, name: string): KnownAgent | undefined {
    const agent = this.#table.find(owner, name)
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

  close(): void {
    this.#closed = true
    this.ways.close()
    for (const agent of [...this.#table.all]) this.#table.end(agent, shuttingDown())
  }
}

/** What stood on other links, and what waits for one, goes over this. */
function nowOver(agent: Agent, link: Link): void {
  if (agent.opener.link !== link) agent.opener.attach(link)
  const waiting = [...agent.waiting]
  agent.waiting.clear()
  for (const { go } of waiting) go(link)
}

/** Where both say their epochs. Of two that do not, the newest link has the name. */
function isSuperseded(program: Program, before: Program): boolean {
  const isOther = program.instance !== before.instance
  return isOther && program.epoch > 0 && before.epoch > 0 && isLater(before, program)
}

function isSameProgram(one: Link, other: Link): boolean {
  return one.peer?.instance !== undefined && one.peer.instance === other.peer?.instance
}
