import { type Clock, systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import type { MeshedAgents } from '../machines/index.ts'
import { Detours } from './detours.ts'
import { idTwice, linkedAlready, tooManyStrangers } from './errors.ts'
import { MAX_PEERS, type Message, type ReplicaState } from './messages.ts'
import { Peer, type Self } from './peer.ts'
import type { Side } from './proof.ts'
import { Told } from './told.ts'

export interface MeshOptions {
  readonly self: Self
  readonly agents: MeshedAgents
  /** Streams that this replica carries. */
  load(): number
  /** A replica hands a stream over. @throws {TunnelError} what refuses it */
  handOver(peer: Peer, incoming: IncomingOpen | IncomingResume): void
  /** A replica tells of a revocation. */
  revoked(revoked: unknown): void
  joined(peer: Peer): void
  left(peer: Peer, error: TunnelError): void
  /** A replica asks, or answers. */
  asked?(peer: Peer, message: Extract<Message, { is: 'ask' | 'answer' }>): void
  /** A replica has told of itself. */
  told?(peer: Peer): void
  /** A link ended before its peer had proved itself, or for what it did. */
  refused(peer: Peer, error: TunnelError): void
}

/** How often others are told of a load that has changed, in ms. */
const TELL_LOAD_MS = 5_000
/** Links of those who have dialled and not proved themselves, at most. */
const MAX_STRANGERS = 32
/** What an older link has to show that it lives, when another replica comes under its id, in ms. */
const PROBE_MS = 1_000

/**
 * The links to the other replicas, one to each: what this one has is told, what they have is kept in memory, and streams
 * are handed over. Nothing else is between a stream and a machine whose agent is elsewhere, Redis least of all.
 */
export class Mesh {
  readonly #options: MeshOptions
  readonly #peers = new Map<string, Peer>()
  readonly #strangers = new Set<Peer>()
  readonly #toldBy = new Map<Peer, Told>()
  readonly #detours: Detours
  readonly #clock: Clock
  #timer: unknown
  #load = 0
  #draining = false
  #closed = false

  constructor(options: MeshOptions) {
    this.#options = options
    this.#detours = new Detours(options.self.id, options.agents, this.#peers)
    options.agents.onPresence({
      present: (presence) => this.tell({ is: 'present', agents: [presence] }),
      gone: (owner, name) => this.tell({ is: 'gone', owner, name }),
    })
    this.#clock = options.self.clock ?? systemClock
    this.#tellLoadLater()
  }

  /** Those that have proved themselves. */
  get peers(): Iterable<Peer> {
    return this.#peers.values()
  }
  /** This one among them. */
  get size(): number {
    return this.#peers.size + 1
  }
  has(id: string): boolean {
    return this.#peers.has(id)
  }
  /** Whether its agents are known, though there may be no link to it. */
  knows(id: string): boolean {
    return this.#peers.has(id) || this.#detours.has(id)
  }
  /** Resolves when all that the others had to tell by now was heard. */
  async heard(): Promise<void> {
    await Promise.all(Array.from(this.#peers.values(), (peer) => peer.heard()))
  }

  /**
   * Somebody has dialled, who may be a replica. Where there is no room, whoever was here longest leaves: a replica proves
   * itself at once, and nobody who only waits keeps it out.
   */
  accept(transport: Transport): void {
    if (this.#closed) return transport.terminate()
    const strangers = [...this.#strangers].filter(({ side }) => side === 'listener')
    if (strangers.length >= MAX_STRANGERS) strangers[0]?.link.close(tooManyStrangers())
    this.add(transport, 'listener')
  }

  /** A link of the transport. @throws {TunnelError} SHUTTING_DOWN */
  add(
    transport: Transport,
    side: Side,
    /** Told once; `wasHere`: it was the link to that replica for a while. */
    closed: (peer: Peer, error: TunnelError, wasHere: boolean) => void = () => {},
  ): Peer {
    if (this.#closed) {
      transport.terminate()
      throw shuttingDown()
    }
    const peer = new Peer(transport, side, this.#options.self, {
      proved: (proved) => this.#join(proved),
      message: (from, message) => this.#heard(from, message),
      handOver: (from, incoming) => this.#options.handOver(from, incoming),
      closed: (left, error) => closed(left, error, this.#leave(left, error)),
    })
    this.#strangers.add(peer)
    return peer
  }

  #join(peer: Peer): void {
    const { self, agents, joined } = this.#options
    this.#strangers.delete(peer)
    if (peer.id === self.id) throw idTwice(peer.id)
    const older = this.#peers.get(peer.id)
    if (older !== undefined && older.instance !== peer.instance) {
      // One that was started again is known to be gone a moment later, and dials once more.
      older.link.probe(PROBE_MS)
      throw idTwice(peer.id)
    }
    // Both have dialled: the one with the smaller id is right, and both know that.
    if (older !== undefined && older.diallerId < peer.diallerId) {
      // Unless the other one knows already that the older link is dead: then this one learns it now, and it dials again.
      older.link.probe(PROBE_MS)
      throw linkedAlready(peer.id)
    }
    this.#peers.set(peer.id, peer)
    this.#toldBy.set(peer, new Told(agents, peer))
    older?.link.close(linkedAlready(peer.id))
    this.#tellState()
    peer.tellAgents(agents.present())
    void peer.heard().then(() => {
      if (this.#peers.get(peer.id) === peer) this.#detours.direct(peer.id)
    })
    if (older === undefined) joined(peer)
  }

  #leave(peer: Peer, error: TunnelError): boolean {
    this.#strangers.delete(peer)
    const isNow = this.#peers.get(peer.id) === peer
    const told = this.#toldBy.get(peer)
    this.#toldBy.delete(peer)
    if (isNow) this.#lose(peer.id)
    told?.clear()
    if (isNow) this.#options.left(peer, error)
    else if (error.code !== 'ABORTED') this.#options.refused(peer, error)
    return told !== undefined
  }

  #lose(id: string): void {
    this.#peers.delete(id)
    for (const { shown } of this.#peers.values()) shown.delete(id)
    if (this.#closed) return
    this.#tellState()
    this.#detours.look()
  }

  #heard(peer: Peer, message: Message): void {
    const told = this.#toldBy.get(peer)
    // Its link is ending.
    if (told === undefined) return
    switch (message.is) {
      case 'present':
      case 'gone':
        if (message.at !== undefined) return this.#detours.heard(peer, message.at, message)
        if (message.is === 'present') told.present(message.agents)
        else told.gone(message)
        for (const other of this.#peers.values())
          if (other.shown.has(peer.id)) other.tell({ ...message, at: peer.id })
        return
      case 'state':
        peer.state = message
        this.#options.told?.(peer)
        return this.#detours.look()
      case 'show':
        return this.#show(peer, message.of)
      case 'hide':
        peer.shown.delete(message.of)
        return
      case 'revoked':
        return this.#options.revoked(message.revoked)
      case 'ask':
      case 'answer':
        this.#options.asked?.(peer, message)
    }
  }

  /** `peer` has no link to the replica `of`. If this one has none either, it has said so, or will. */
  #show(peer: Peer, of: string): void {
    const other = this.#peers.get(of)
    const told = other === undefined || other === peer ? undefined : this.#toldBy.get(other)
    if (told === undefined || peer.shown.has(of)) return
    peer.shown.add(of)
    peer.tellAgents(told.presences, of)
  }

  /** Tells every other replica. */
  tell(message: Message): void {
    for (const peer of this.#peers.values()) peer.tell(message)
  }

  #tellLoadLater(): void {
    this.#timer = this.#clock.setTimer(() => {
      this.#tellLoad()
      this.#tellLoadLater()
    }, TELL_LOAD_MS)
  }

  #tellLoad(): void {
    const load = this.#options.load()
    if (load === this.#load) return
    this.#load = load
    this.#tellState()
  }

  #tellState(): void {
    this.tell({ is: 'state', ...this.state })
  }

  /** What this replica tells of itself. */
  get state(): ReplicaState {
    const ids = [...this.#peers.keys()]
    const peers = ids.length > MAX_PEERS ? undefined : ids
    return { load: this.#load, draining: this.#draining, peers }
  }

  /** This replica leaves: others send nothing here for which there is another way. */
  drain(): void {
    this.#draining = true
    this.#tellState()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#clock.clearTimer(this.#timer)
    for (const peer of [...this.#strangers, ...this.#peers.values()]) peer.link.close(shuttingDown())
  }
}
