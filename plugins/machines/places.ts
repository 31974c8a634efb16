import { readMachine } from '../../protocol/codec/heads.ts'
import type { User } from '../auth/index.ts'
import type { Shared } from '../policy/index.ts'
import { machineAmbiguous, machineUnknown, ownerOnly } from './errors.ts'
import type { ConfiguredMachine, MachinesOptions } from './options.ts'
import type { MachineRecords } from './records.ts'

/** A machine, by what tells it from all others. */
export interface Place {
  owner: string
  name: string
}

/** Which machines there are, and which of them a user means by a name. */
export class Places {
  readonly #configured: MachinesOptions
  readonly #records: MachineRecords
  readonly #sharedWith: (user: User) => Shared | undefined

  constructor(
    configured: MachinesOptions,
    records: MachineRecords,
    sharedWith: (user: User) => Shared | undefined,
  ) {
    this.#configured = configured
    this.#records = records
    this.#sharedWith = sharedWith
  }

  configuredOf(owner: string, name: string): ConfiguredMachine | undefined {
    const machine = Object.hasOwn(this.#configured, name) ? this.#configured[name] : undefined
    return machine?.owners.includes(owner) ? machine : undefined
  }

  /** Names of one owner's machines. */
  namesOf(owner: string): string[] {
    const configured = Object.keys(this.#configured).filter(
      (name) => this.configuredOf(owner, name) !== undefined,
    )
    return [...new Set([...configured, ...this.#records.namesOf(owner)])].sort()
  }

  #has(owner: string, name: string): boolean {
    return this.configuredOf(owner, name) !== undefined || this.#records.get(owner, name) !== undefined
  }

  /** A user's own machines, and those that are shared with them. */
  of(user: User): Place[] {
    const own = this.namesOf(user.sub).map((name) => ({ owner: user.sub, name }))
    const shared = this.#sharedWith(user)
    if (shared === undefined) return own
    return [
      ...own,
      ...this.#sharers(user, shared).flatMap((owner) =>
        this.namesOf(owner)
          .filter((name) => shared.includes(owner, name))
          .map((name) => ({ owner, name })),
      ),
    ]
  }

  /** Whoever may be meant: only a rule that shares the machines of many makes it look at everybody. */
  #sharers(user: User, { owners }: Shared): string[] {
    const isOpen = owners.some((owner) => owner.includes('*'))
    const configured = Object.values(this.#configured).flatMap((machine) => machine.owners)
    const all = isOpen ? new Set([...configured, ...this.#records.owners()]) : owners
    return [...all].filter((owner) => owner !== user.sub).sort()
  }

  /**
   * The machine that a user means: one of the user's own, or else the only one of that name which somebody shares;
   * `owner/name` is that one.
   * @throws {TunnelError} MACHINE_UNKNOWN, in the same words whether nobody has such a machine or somebody else has
   */
  locate(user: User, asked: string): Place {
    const { owner = user.sub, name } = readMachine(asked)
    if (owner === user.sub && this.#has(owner, name)) return { owner, name }
    const shared = this.#sharedWith(user)
    if (shared !== undefined) {
      const candidates = asked === name ? this.#sharers(user, shared) : [owner]
      const sharing = candidates.filter((each) => this.#has(each, name) && shared.includes(each, name))
      if (sharing.length > 1) throw machineAmbiguous(name, sharing)
      if (sharing[0] !== undefined) return { owner: sharing[0], name }
    }
    throw machineUnknown(asked, this.#namesFor(user))
  }

  /** @throws {TunnelError} MACHINE_UNKNOWN, and FORBIDDEN for one that is shared */
  own(user: User, asked: string): Place {
    const place = this.locate(user, asked)
    if (place.owner !== user.sub) throw ownerOnly(place.owner, place.name)
    return place
  }

  #namesFor(user: User): string[] {
    return this.of(user).map(({ owner, name }) => (owner === user.sub ? name : `${owner}/${name}`))
  }
}
