import type { HomeReplica, MeshedAgents, Presence } from '../machines/index.ts'
import { messageInvalid } from './errors.ts'

/** Agents of one replica, at most: more than a process has room for links. */
const MAX_AGENTS = 200_000

/** What is known of one replica's agents, so that all of it can be taken back. */
export class Told {
  readonly #agents: MeshedAgents
  readonly #replica: HomeReplica
  readonly #presences = new Map<string, Presence>()

  constructor(agents: MeshedAgents, replica: HomeReplica) {
    this.#agents = agents
    this.#replica = replica
  }

  get presences(): Iterable<Presence> {
    return this.#presences.values()
  }

  /** @throws {TunnelError} FRAME_INVALID for more than a replica can have */
  present(agents: readonly Presence[]): void {
    for (const presence of agents) {
      this.#presences.set(keyOf(presence), presence)
      if (this.#presences.size > MAX_AGENTS) throw messageInvalid(`tells of more than ${MAX_AGENTS} agents`)
      this.#agents.appeared(presence, this.#replica)
    }
  }

  gone(agent: Pick<Presence, 'owner' | 'name'>): void {
    if (this.#presences.delete(keyOf(agent))) this.#agents.disappeared(agent.owner, agent.name, this.#replica)
  }

  /** Nothing of it holds any more. */
  clear(): void {
    const all = [...this.#presences.values()]
    this.#presences.clear()
    for (const { owner, name } of all) this.#agents.disappeared(owner, name, this.#replica)
  }
}

/** No owner has a space in it. */
function keyOf({ owner, name }: Pick<Presence, 'owner' | 'name'>): string {
  return `${owner} ${name}`
}
