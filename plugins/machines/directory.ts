import type { Machine } from '../../dial/machine.ts'
import type { Clock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { isMachineName } from '../../protocol/codec/heads.ts'
import type { Enrolment } from '../../protocol/codec/hello.ts'
import type { TraceContext } from '../../protocol/codec/trace-context.ts'
import type { Link } from '../../protocol/link/link.ts'
import { type Lookup, Names } from '../../protocol/node/names.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import type { User } from '../auth/index.ts'
import type { Shared } from '../policy/index.ts'
import type { AgentLink } from './agent.ts'
import { Agents, type MeshedAgents } from './agents.ts'
import { dialTcp } from './dial-tcp.ts'
import { nameInvalid, removed, takenByConfiguration, tooManyMachines } from './errors.ts'
import { describe, lineOf } from './host-keys.ts'
import { HostTrials } from './host-trials.ts'
import type { MachinesOptions } from './options.ts'
import { type KeysListener, Pins } from './pins.ts'
import { type Place, Places } from './places.ts'
import { enrolledAs, MachineRecords, type MachineState } from './records.ts'
import type { Route } from './route.ts'

type ForgottenListener = (owner: string, name: string, error: TunnelError) => void

export interface DirectoryOptions {
  /** What others share with a user. @default nothing */
  sharedWith?: (user: User) => Shared | undefined
  clock?: Clock
  /** How often each machine's SSH server is tried, in ms; 0: never. @default 0 */
  probeMs?: number
  /** Whose work is done now, for the agent that does a part of it. @default of nobody */
  traceContext?: () => TraceContext
  /** Resolves what configured hosts are to connect to. @default the system's resolver */
  lookup?: Lookup
  lookupsAtOnce?: number | undefined
}

/** Who is reachable, whose it is, and by which host keys it is known. */
export class MachineDirectory {
  readonly #places: Places
  readonly #agents: Agents
  readonly #records: MachineRecords
  readonly #pins: Pins
  readonly #state: MachineState
  readonly #onForgotten: ForgottenListener[] = []
  readonly #trials: HostTrials
  readonly #traceContext: () => TraceContext
  readonly #names: Names

  constructor(
    configured: MachinesOptions,
    streams: StreamsOptions,
    state: MachineState,
    {
      sharedWith = () => undefined,
      clock,
      probeMs = 0,
      traceContext = () => ({}),
      lookup,
      lookupsAtOnce,
    }: DirectoryOptions = {},
  ) {
    this.#agents = new Agents(streams, clock, probeMs)
    this.#trials = new HostTrials(configured, probeMs, clock)
    this.#records = new MachineRecords(state)
    this.#pins = new Pins(this.#records)
    this.#places = new Places(configured, this.#records, sharedWith)
    this.#state = state
    this.#traceContext = traceContext
    this.#names = new Names('proxy', lookup, lookupsAtOnce)
  }

  /** Reads what is known, and keeps up with other replicas; returns what ends that. */
  follow(failed: (error: unknown) => void): Promise<() => void> {
    return this.#records.follow((owner, name) => this.#forgotten(owner, name), failed)
  }

  /**
   * An agent's HELLO: its machine is on line over `link` from now on.
   * @throws {TunnelError} CONFIG_INVALID, TOO_MANY_CONNECTIONS
   */
  async enrol(owner: string, name: string, enrolment: Enrolment, agent: AgentLink): Promise<void> {
    if (!isMachineName(name)) throw nameInvalid(name)
    if (this.#places.configuredOf(owner, name) !== undefined) throw takenByConfiguration(name)
    const known = await this.#records.find(owner, name)
    const { machines: max } = agent.limits
    if (known === undefined && this.#places.namesOf(owner).length >= max) throw tooManyMachines(max)
    // On disk before anybody can use the link, and before the agent is told that it is in.
    await this.#pins.store(owner, name, enrolledAs(enrolment, known, this.#state.loss !== undefined))
    if (!agent.link.closed) this.#agents.attach(owner, name, agent)
  }

  onKeysChanged(listener: KeysListener): void {
    this.#pins.onKeysChanged(listener)
  }

  /** The agent's link has ended. */
  lost(owner: string, name: string, link: Link): void {
    this.#agents.detach(owner, name, link)
  }

  find(owner: string, name: string): Machine | undefined {
    const configured = this.#places.configuredOf(owner, name)
    if (configured !== undefined) {
      const hostKeys = [describe(configured.hostKey)]
      const { user: sshUser } = configured
      const trial = this.#trials.last(name)
      return {
        ...{ owner, name, source: 'configured', online: true, sshUser, hostKeys, hostKeyChanged: false },
        ...(trial !== undefined && { tried: trial }),
      }
    }
    const agent = this.#agents.get(owner, name)
    const record = this.#records.get(owner, name)
    if (record === undefined) return undefined
    const machine: Machine = {
      owner,
      name,
      source: 'agent',
      online: agent?.online === true,
      sshUser: record.sshUser,
      hostKeys: record.hostKeys.map(describe),
      hostKeyChanged: record.changedKeys.length > 0,
    }
    if (machine.hostKeyChanged) machine.changedKeys = record.changedKeys.map(describe)
    if (agent !== undefined) {
      machine.since = agent.since.toISOString()
      machine.streams = agent.streams
      if (agent.trial !== undefined) machine.tried = agent.trial
    }
    if (agent?.link?.peer !== undefined) machine.agentVersion = agent.link.peer.software
    return machine
  }

  /** @throws {TunnelError} MACHINE_UNKNOWN, and FORBIDDEN for one that is shared */
  own(user: User, asked: string): Place {
    return this.#places.own(user, asked)
  }

  /** A user's own machines, and those that are shared with them. */
  list(user: User): Machine[] {
    return this.#places.of(user).flatMap((place) => this.#tell(user, place) ?? [])
  }

  /** The same of one. @throws {TunnelError} MACHINE_UNKNOWN */
  get(user: User, asked: string): Machine {
    return this.#tell(user, this.#places.locate(user, asked)) as Machine
  }

  #tell(user: User, { owner, name }: Place): Machine | undefined {
    const machine = this.find(owner, name)
    if (machine === undefined || owner === user.sub) return machine
    // How much others do there is not for everybody who may use it.
    const { streams: _, ...told } = machine
    return { ...told, shared: true }
  }

  /**
   * The way to the machine that a user calls `asked`.
   * @throws {TunnelError} MACHINE_UNKNOWN
   */
  async resolve(user: User, asked: string): Promise<Route> {
    const { owner, name } = this.#places.locate(user, asked)
    const configured = this.#places.configuredOf(owner, name)
    if (configured !== undefined) {
      const { hostKey, user: sshUser } = configured
      return {
        owner,
        name,
        source: 'configured',
        sshUser,
        hostKeys: async () => [hostKey],
        hostKeyShown: (key) => this.#pins.tell(owner, name, [hostKey], [lineOf(key) ?? '']),
        dial: () => dialTcp(name, configured),
        lookup: (host, signal) => this.#names.resolve(host, user.sub, signal),
      }
    }
    const { sshUser } = this.#pins.recordOf(owner, name)
    return {
      owner,
      name,
      source: 'agent',
      sshUser,
      hostKeys: async () => {
        // Its agent's HELLO brings them.
        if (this.#pins.pinned(owner, name).length === 0) await this.#agents.ways.link(owner, name)
        return this.#pins.pinned(owner, name)
      },
      hostKeyShown: (key) => this.#pins.shown(owner, name, key),
      // A machine may have been forgotten since.
      link: async () => this.#pins.recordOf(owner, name) && this.#agents.ways.link(owner, name),
      dial: async () => {
        const trace = this.#traceContext()
        return this.#pins.recordOf(owner, name) && this.#agents.ways.dial(owner, name, user, trace)
      },
      lookup: async (host, signal) =>
        this.#pins.recordOf(owner, name) && this.#agents.ways.lookup(owner, name, user, host, signal),
    }
  }

  /** As `Pins.trust`; returns what is known of the machine then. */
  async trust(owner: string, name: string, seen?: readonly string[]): Promise<Machine> {
    await this.#pins.trust(owner, name, seen)
    return this.find(owner, name) as Machine
  }

  /** Calls `listener` with each machine that its owner has removed, for what else is to end with it. */
  onForgotten(listener: ForgottenListener): void {
    this.#onForgotten.push(listener)
  }

  /**
   * Forgets a machine and its pins, and ends what it has here: its agent's links with every stream on them, and what
   * waits for it. Whoever still has a token of an agent may enrol a machine of that name again, as a new one.
   * @throws {TunnelError} MACHINE_UNKNOWN
   */
  async forget(owner: string, name: string): Promise<void> {
    this.#pins.recordOf(owner, name)
    await this.#records.delete(owner, name)
    this.#forgotten(owner, name)
  }

  #forgotten(owner: string, name: string): void {
    const error = removed(name)
    this.#agents.forget(owner, name, error)
    for (const listener of this.#onForgotten) listener(owner, name, error)
  }

  /**
   * Calls `go` with the link of a machine's agent, now or when it is on line, or `gone` when it did not come within the
   * resume window; returns what ends the wait.
   */
  whenOnline(
    owner: string,
    name: string,
    go: (link: Link) => void,
    gone: (error: TunnelError) => void,
  ): () => void {
    return this.#agents.ways.whenOnline(owner, name, go, gone)
  }

  /** The agents' links, for whoever tells other replicas of them and hears of theirs. */
  get agents(): MeshedAgents {
    return this.#agents
  }

  close(): void {
    this.#trials.close()
    this.#agents.close()
  }
}
