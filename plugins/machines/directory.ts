import type { Machine } from '../../dial/machine.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { isMachineName } from '../../protocol/codec/heads.ts'
import type { Enrolment } from '../../protocol/codec/hello.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import type { State } from '../state/index.ts'
import { type AgentLink, Agents } from './agents.ts'
import { dialTcp } from './dial-tcp.ts'
import {
  machineUnknown,
  nameInvalid,
  nothingToTrust,
  takenByConfiguration,
  tooManyMachines,
} from './errors.ts'
import { describe, hasChanged, hostKeysOf, lineOf } from './host-keys.ts'
import type { ConfiguredMachine, MachinesOptions } from './options.ts'
import { MachineRecords } from './records.ts'
import type { Route } from './route.ts'

const MAX_MACHINES_PER_USER = 1_000
const MAX_FORMER_KEYS = 32

/** Who is reachable, whose it is, and by which host keys it is known. */
export class MachineDirectory {
  readonly #configured: MachinesOptions
  readonly #agents: Agents
  readonly #records: MachineRecords

  constructor(configured: MachinesOptions, streams: StreamsOptions, state: State) {
    this.#configured = configured
    this.#agents = new Agents(streams)
    this.#records = new MachineRecords(state)
  }

  load(): Promise<void> {
    return this.#records.load()
  }

  /**
   * An agent's HELLO: its machine is on line over `link` from now on.
   * @throws {TunnelError} CONFIG_INVALID, TOO_MANY_CONNECTIONS
   */
  async enrol(
    owner: string,
    name: string,
    enrolment: Enrolment,
    { link, isFresh }: AgentLink,
  ): Promise<void> {
    if (!isMachineName(name)) throw nameInvalid(name)
    if (this.#configuredOf(owner, name) !== undefined) throw takenByConfiguration(name)
    const known = this.#records.get(owner, name)
    if (known === undefined && this.#names(owner).length >= MAX_MACHINES_PER_USER) {
      throw tooManyMachines(MAX_MACHINES_PER_USER)
    }
    const pinned = known?.hostKeys ?? []
    const formerKeys = known?.formerKeys ?? []
    const told = hostKeysOf(enrolment.hostKeys)
    const reported = told.filter((key) => !formerKeys.includes(key))
    const record = {
      hostKeys: pinned.length === 0 ? reported : pinned,
      changedKeys: hasChanged(pinned, reported) ? reported : [],
      formerKeys,
      sshUser: enrolment.sshUser,
    }
    // The pin holds before anybody can use the link.
    const stored = this.#records.put(owner, name, record)
    this.#agents.attach(owner, name, link, isFresh)
    await stored
  }

  /** The agent's link has ended. */
  lost(owner: string, name: string, link: Link): void {
    this.#agents.detach(owner, name, link)
  }

  find(owner: string, name: string): Machine | undefined {
    const configured = this.#configuredOf(owner, name)
    if (configured !== undefined) {
      const hostKeys = [describe(configured.hostKey)]
      const { user: sshUser } = configured
      return { owner, name, source: 'configured', online: true, sshUser, hostKeys, hostKeyChanged: false }
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
    if (agent !== undefined) {
      machine.since = agent.since.toISOString()
      machine.streams = agent.streams
    }
    if (agent?.link?.peer !== undefined) machine.agentVersion = agent.link.peer.software
    return machine
  }

  #configuredOf(owner: string, name: string): ConfiguredMachine | undefined {
    const machine = Object.hasOwn(this.#configured, name) ? this.#configured[name] : undefined
    return machine?.owners.includes(owner) ? machine : undefined
  }

  #names(owner: string): string[] {
    const configured = Object.keys(this.#configured).filter(
      (name) => this.#configuredOf(owner, name) !== undefined,
    )
    return [...new Set([...configured, ...this.#records.namesOf(owner)])].sort()
  }

  list(owner: string): Machine[] {
    return this.#names(owner).flatMap((name) => this.find(owner, name) ?? [])
  }

  /** The same. @throws {TunnelError} MACHINE_UNKNOWN */
  get(owner: string, name: string): Machine {
    const machine = this.find(owner, name)
    if (machine === undefined) throw machineUnknown(name)
    return machine
  }

  /**
   * The way to the machine that `userId` calls `name`.
   * @throws {TunnelError} MACHINE_UNKNOWN, in the same words whether nobody has such a machine or somebody else has
   */
  async resolve(userId: string, name: string): Promise<Route> {
    const { owner, source, sshUser } = this.get(userId, name)
    const configured = this.#configuredOf(owner, name)
    if (source === 'configured' && configured !== undefined) {
      const { host, port, hostKey } = configured
      return {
        ...{ owner, name, source, sshUser },
        hostKeys: async () => [hostKey],
        hostKeyShown: () => {},
        dial: () => dialTcp(host, port),
      }
    }
    return {
      ...{ owner, name, source: 'agent', sshUser },
      hostKeys: () => this.#hostKeys(owner, name),
      hostKeyShown: (key) => this.#hostKeyShown(owner, name, key),
      link: () => this.#agents.link(owner, name),
      dial: () => this.#agents.dial(owner, name),
    }
  }

  async #hostKeys(owner: string, name: string): Promise<string[]> {
    const hostKeys = this.#records.get(owner, name)?.hostKeys ?? []
    if (hostKeys.length === 0) await this.#agents.link(owner, name)
    return hostKeys
  }

  #hostKeyShown(owner: string, name: string, blob: Buffer): void {
    const record = this.#records.get(owner, name)
    const key = lineOf(blob)
    if (record === undefined || key === undefined) return
    if (record.hostKeys.includes(key) || record.changedKeys.includes(key)) return
    // What cannot be stored is shown again at the next attempt.
    this.#records.put(owner, name, { ...record, changedKeys: [key] }).catch(() => {})
  }

  /** The owner's word that a machine's changed keys are right. @throws {TunnelError} MACHINE_UNKNOWN, MACHINE_OFFLINE */
  async trust(owner: string, name: string): Promise<Machine> {
    const record = this.#records.get(owner, name)
    if (record === undefined) throw machineUnknown(name)
    if (record.changedKeys.length === 0 && record.hostKeys.length === 0) throw nothingToTrust(name)
    const { hostKeys, changedKeys, formerKeys } = record
    if (changedKeys.length > 0) {
      const former = [...hostKeys, ...formerKeys].filter((key) => !changedKeys.includes(key))
      await this.#records.put(owner, name, {
        ...record,
        hostKeys: changedKeys,
        changedKeys: [],
        formerKeys: former.slice(0, MAX_FORMER_KEYS),
      })
    }
    return this.find(owner, name) as Machine
  }

  /** Forgets a machine and its pins; its agent, if it is on line, is closed. @throws {TunnelError} MACHINE_UNKNOWN */
  async forget(owner: string, name: string): Promise<void> {
    if (this.#records.get(owner, name) === undefined) throw machineUnknown(name)
    await this.#records.delete(owner, name)
    this.#agents
      .get(owner, name)
      ?.link?.close(new TunnelError('TAKEN_OVER', `${name} was removed by its owner`, { hop: 'proxy' }))
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
    return this.#agents.whenOnline(owner, name, go, gone)
  }

  close(): void {
    this.#agents.close()
  }
}
