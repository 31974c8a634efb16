import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { Hello } from '../../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume } from '../../../protocol/link/handlers.ts'
import type { Link } from '../../../protocol/link/link.ts'
import { Relay } from '../../../protocol/stream/relay.ts'
import { RelayMemory } from '../../../protocol/stream/relay-memory.ts'
import type { MemoryPair } from '../../support/memory-transport.ts'
import { helloOf, linkOf, MIB, NOTHING, Parties, RawPeer, SETTINGS } from '../parties.ts'

/** A proxy between an opener (`parties.opener`) and an acceptor: two links and the relays between them. */
export class Relayed {
  readonly parties: Parties
  readonly memory: RelayMemory
  /** Of another user, by the proxy's end of that one's link. */
  readonly memories = new Map<Link, RelayMemory>()
  /** The agent's link brings streams of other users too. */
  isShared = false
  readonly relays = new Set<Relay>()
  agentLink: Link | undefined
  agentPair: MemoryPair | undefined
  /** The proxy's end of the newest client link. */
  clientLink: Link | undefined
  clientPair: MemoryPair | undefined
  readonly carried = { up: 0, down: 0 }

  constructor(parties = new Parties(), memoryBytes = 64 * MIB) {
    this.parties = parties
    this.memory = new RelayMemory(memoryBytes)
  }

  #route(incoming: IncomingOpen | IncomingResume): void {
    const relay: Relay = new Relay(incoming, {
      memory: this.memories.get(incoming.link) ?? this.memory,
      isShared: () => this.isShared,
      onBytes: (direction, bytes) => {
        this.carried[direction] += bytes
      },
      onOver: () => this.relays.delete(relay),
    })
    this.relays.add(relay)
    if (this.agentLink === undefined || this.agentLink.closed) return relay.suspend()
    relay.connect(this.agentLink, { ...incoming.head, subject: 'anna' })
  }

  /** A link whose proxy end is here and whose far end a test holds. */
  listen(): MemoryPair {
    const pair = this.parties.newPair()
    this.clientLink = linkOf(pair.b, this.parties.clock, false, {
      open: (open) => this.#route(open),
      resume: (resume) => this.#route(resume),
    })
    this.clientPair = pair
    return pair
  }

  async connectClient(): Promise<Link> {
    const { parties } = this
    const near: Link = linkOf(this.listen().a, parties.clock, true, {
      ready: () => parties.opener.attach(near),
    })
    await parties.pass(200)
    return near
  }

  agentSocket(): MemoryPair {
    const pair = this.parties.newPair()
    this.agentPair = pair
    this.agentLink = linkOf(pair.b, this.parties.clock, false)
    return pair
  }

  async connectAgent(hello: Hello = helloOf('agent')): Promise<void> {
    const { parties } = this
    linkOf(
      this.agentSocket().a,
      parties.clock,
      true,
      {
        open: (open) => parties.acceptor.open(open, open.head.subject),
        resume: (resume) => parties.acceptor.resume(resume, resume.head.subject),
      },
      hello,
    )
    await parties.pass(200)
  }

  async connect(): Promise<this> {
    await this.connectAgent()
    await this.connectClient()
    return this
  }

  leftovers(): Record<string, number> {
    return {
      ...this.parties.leftovers(),
      relays: this.relays.size,
      memory: this.memory.usedBytes,
      places: (this.agentLink?.streamCount ?? 0) + (this.clientLink?.streamCount ?? 0),
    }
  }
}

export const CLEAN = { ...NOTHING, relays: 0, memory: 0, places: 0 }
export const settled = SETTINGS.resumeMs + 1_000

/** A proxy that parks every RESUME, as for an agent that is away. */
export function parking(
  parties: Parties,
  memory: RelayMemory,
): { peer: RawPeer; parked: Relay[]; over: string[]; link: Link; cut(): void } {
  const pair = parties.newPair()
  const parked: Relay[] = []
  const over: string[] = []
  const onOver = (error: TunnelError | undefined, isOver: boolean): void => {
    over.push(`${error?.code ?? 'none'} ${isOver}`)
  }
  const link = linkOf(pair.b, parties.clock, false, {
    open: (open) => void parked.push(new Relay(open, { memory, onOver })),
    resume: (resume) => void parked.push(new Relay(resume, { memory, onOver })),
  })
  const peer = new RawPeer(pair.a)
  peer.hello()
  return { peer, parked, over, link, cut: () => pair.cut() }
}

export const RESUME = { kind: 'ssh', machine: 'away', received: 0, limit: 0, attempt: 1 }
