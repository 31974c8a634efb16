import { type Clock, systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import { type Work, WorkMeter } from '../../protocol/link/work-meter.ts'
import type { HomeReplica, Presence } from '../machines/index.ts'
import { Answers } from './answers.ts'
import { isSelf, notAReplica, notProved, proofMissing, proofWrong } from './errors.ts'
import { fromWire, inFrames, type Message, type ReplicaState, toWire } from './messages.ts'
import { type Greeted, isProof, newNonce, proofOf, type Side } from './proof.ts'

/** Who this replica is, and what holds on its links to others. */
export interface Self {
  readonly id: string
  /** Random, of this start. */
  readonly instance: string
  readonly secret: string
  readonly software: string
  readonly maxFrameBytes: number
  /** How long streams without a link are kept, in ms. */
  readonly resumeMs: number
  /** @default the system's */
  readonly clock?: Clock
}

export interface PeerEvents {
  /** It knows the secret. What it throws ends the link. */
  proved(peer: Peer): void
  message(peer: Peer, message: Message): void
  /** It hands a stream over. What it throws refuses the stream. */
  handOver(peer: Peer, incoming: IncomingOpen | IncomingResume): void
  /** Once, whether or not it was ever proved. */
  closed(peer: Peer, error: TunnelError): void
}

/** Between replicas a silence is short: streams wait for it to be noticed, and both are in one network. */
const HEARTBEAT = { intervalMs: 750, timeoutMs: 2_000 }
/** Streams of all users go over one link. */
const MAX_STREAMS = 100_000
const PROOF_MS = 5_000

/** One link to another replica, from its first HELLO on; nothing that it says counts before its proof. */
export class Peer implements HomeReplica {
  readonly link: Link
  /** Which of the two has dialled, seen from here. */
  readonly side: Side
  readonly #self: Self
  readonly #events: PeerEvents
  readonly #clock: Clock
  readonly #nonce = newNonce()
  readonly #timer: unknown
  #isProved = false
  /** Of its HELLO. */
  #hello: Hello | undefined
  state: ReplicaState = { load: 0, draining: false, peers: undefined }
  /** Those to which it has no link, and of whose agents it is to be told. */
  readonly shown = new Set<string>()
  readonly via = undefined
  readonly #answers: Answers

  constructor(transport: Transport, side: Side, self: Self, events: PeerEvents) {
    this.side = side
    this.#self = self
    this.#events = events
    const { clock = systemClock } = self
    this.#clock = clock
    this.#answers = new Answers(clock)
    this.#timer = clock.setTimer(() => this.link.close(proofMissing(PROOF_MS)), PROOF_MS)
    this.link = new Link({
      transport,
      dialler: side === 'dialler',
      // What is said before the proof is refused below.
      trust: 'replica',
      work: new StrangersWork(clock, () => this.#isProved),
      clock,
      hello: this.#ownHello(),
      handlers: {
        ready: (hello) => this.#ready(hello),
        mesh: (body) => this.#heard(body),
        open: (open) => this.#handOver(open),
        resume: (resume) => this.#handOver(resume),
        rtt: (_ms, sentAtMs) => this.#answers.came(sentAtMs),
        closed: (error) => {
          clock.clearTimer(this.#timer)
          this.#answers.close()
          events.closed(this, error)
        },
      },
    })
  }

  get id(): string {
    return this.#hello?.replica?.id ?? ''
  }
  get instance(): string {
    return this.#hello?.instance ?? ''
  }
  get isProved(): boolean {
    return this.#isProved
  }
  /** Its peer is this very process. */
  get isSelf(): boolean {
    return this.instance === this.#self.instance
  }
  /** As it has told, with what has gone there since. */
  get load(): number {
    return Math.max(this.state.load, this.link.streamCount)
  }
  get draining(): boolean {
    return this.state.draining
  }
  /** The replica that has dialled. */
  get diallerId(): string {
    return this.side === 'dialler' ? this.#self.id : this.id
  }

  tell(message: Message): void {
    this.link.sendMesh(toWire(message))
  }

  /** @param at the third replica that has them */
  tellAgents(presences: Iterable<Presence>, at?: string): void {
    const where = at === undefined ? {} : { at }
    for (const agents of inFrames(presences)) this.tell({ is: 'present', agents, ...where })
  }

  /** Resolves when all that it had told by now was heard, or the link is over: it is told in order, and so is PONG. */
  heard(): Promise<void> {
    return this.#answers.next(() => this.link.probe(HEARTBEAT.timeoutMs))
  }

  #ownHello(): Hello {
    const { id, instance, software, maxFrameBytes, resumeMs } = this.#self
    return {
      ...{ role: 'relay', version: PROTOCOL_VERSION, software, instance, heartbeat: HEARTBEAT, resumeMs },
      limits: { maxFrameBytes, maxStreams: MAX_STREAMS },
      replica: { id, nonce: this.#nonce },
    }
  }

  #ready(hello: Hello): void {
    if (hello.role !== 'relay' || hello.replica === undefined) throw notAReplica(hello.role)
    this.#hello = hello
    if (this.isSelf) throw isSelf()
    // The dialler's first: a listener proves nothing to whoever comes.
    if (this.side === 'dialler') queueMicrotask(() => this.#prove())
  }

  get #greeted(): Greeted {
    const own = { id: this.#self.id, nonce: this.#nonce }
    const theirs = this.#hello?.replica ?? { id: '', nonce: '' }
    return this.side === 'dialler' ? { dialler: own, listener: theirs } : { dialler: theirs, listener: own }
  }

  #prove(): void {
    this.tell({ is: 'proof', proof: proofOf(this.#self.secret, this.side, this.#greeted) })
  }

  #heard(body: Record<string, unknown>): void {
    const message = fromWire(body)
    if (!this.#isProved) return this.#judge(message)
    // Once is enough.
    if (message !== undefined && message.is !== 'proof') this.#events.message(this, message)
  }

  #judge(message: Message | undefined): void {
    if (message?.is !== 'proof') throw notProved()
    const theirs = this.side === 'dialler' ? 'listener' : 'dialler'
    if (!isProof(message.proof, this.#self.secret, theirs, this.#greeted)) throw proofWrong()
    this.#clock.clearTimer(this.#timer)
    this.#isProved = true
    if (this.side === 'listener') this.#prove()
    this.#events.proved(this)
  }

  #handOver(incoming: IncomingOpen | IncomingResume): void {
    if (!this.#isProved) throw notProved()
    try {
      this.#events.handOver(this, incoming)
    } catch (thrown) {
      throw asTunnelError(thrown, 'proxy')
    }
  }
}

/** What a stranger causes is counted; a replica's frames are those of all its users, who are counted there. */
class StrangersWork implements Work {
  readonly #meter: WorkMeter
  readonly #isKnown: () => boolean

  constructor(clock: Clock, isKnown: () => boolean) {
    this.#meter = new WorkMeter(clock)
    this.#isKnown = isKnown
  }

  charge(cost: number): number {
    return this.#isKnown() ? 0 : this.#meter.charge(cost)
  }
  credit(): void {}
  fault(): boolean {
    return this.#isKnown() || this.#meter.fault()
  }
}
