import type { Link } from '../../protocol/link/link.ts'
import type { HomeReplica, MeshedAgents } from '../machines/index.ts'
import type { Message } from './messages.ts'
import type { Peer } from './peer.ts'
import { Told } from './told.ts'

/** A replica to which this one has no link, and another that has one. */
class Beyond implements HomeReplica {
  readonly id: string
  readonly by: Peer
  readonly told: Told
  /** All that it had when it was asked for was heard. */
  isHeard = false

  constructor(id: string, by: Peer, agents: MeshedAgents) {
    this.id = id
    this.by = by
    this.told = new Told(agents, this)
  }
  get link(): Link {
    return this.by.link
  }
  get via(): string {
    return this.by.id
  }
  get load(): number {
    return this.by.load
  }
  get draining(): boolean {
    return this.by.draining
  }
}

/**
 * The ways around a link between two replicas that is cut: each says to whom it has links, so that one which has no link to
 * a third asks somebody who has to tell of its agents, and to bring streams there. No replica tells of
 * what it was told in this way, so there is never more than one between.
 */
export class Detours {
  readonly #selfId: string
  readonly #agents: MeshedAgents
  readonly #peers: ReadonlyMap<string, Peer>
  readonly #ways = new Map<string, Beyond>()

  constructor(selfId: string, agents: MeshedAgents, peers: ReadonlyMap<string, Peer>) {
    this.#selfId = selfId
    this.#agents = agents
    this.#peers = peers
  }

  /** Whether the agents of that replica are known here, though there is no link to it. */
  has(id: string): boolean {
    return this.#ways.get(id)?.isHeard === true
  }

  /** To whom there are links has changed, here or elsewhere. */
  look(): void {
    for (const [id, { by }] of this.#ways) {
      if (this.#peers.get(by.id) === by && isLinked(by, id)) continue
      this.#end(id)
    }
    for (const id of this.#missing()) {
      const by = this.#bestTo(id)
      if (by === undefined) continue
      const way = new Beyond(id, by, this.#agents)
      this.#ways.set(id, way)
      by.tell({ is: 'show', of: id })
      void by.heard().then(() => {
        way.isHeard = true
      })
    }
  }

  /** There is a link to that replica, and all that it has was heard. */
  direct(id: string): void {
    const way = this.#ways.get(id)
    if (way === undefined) return
    this.#end(id)
    if (!way.by.link.closed) way.by.tell({ is: 'hide', of: id })
  }

  /** A replica tells of another's agents. What nobody asked for, or asks for no more, is left. */
  heard(by: Peer, at: string, message: Extract<Message, { is: 'present' | 'gone' }>): void {
    const way = this.#ways.get(at)
    if (way?.by !== by) return
    if (message.is === 'present') way.told.present(message.agents)
    else way.told.gone(message)
  }

  /** Of whom others have links, and this one has neither a link nor another way. */
  #missing(): Set<string> {
    const missing = new Set<string>()
    for (const { state } of this.#peers.values())
      for (const id of state.peers ?? [])
        if (id !== this.#selfId && !this.#peers.has(id) && !this.#ways.has(id)) missing.add(id)
    return missing
  }

  #bestTo(id: string): Peer | undefined {
    const able = [...this.#peers.values()].filter((peer) => isLinked(peer, id))
    return able.sort((a, b) => Number(a.draining) - Number(b.draining) || a.load - b.load)[0]
  }

  #end(id: string): void {
    const way = this.#ways.get(id)
    this.#ways.delete(id)
    way?.told.clear()
  }
}

function isLinked({ state: { peers } }: Peer, id: string): boolean {
  return peers?.includes(id) === true
}
