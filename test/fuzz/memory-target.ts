import { TunnelError } from '../../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import type { IncomingOpen, IncomingResume, LinkHandlers } from '../../protocol/link/handlers.ts'
import { Link } from '../../protocol/link/link.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import { Relay } from '../../protocol/stream/relay.ts'
import { RelayMemory } from '../../protocol/stream/relay-memory.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { MemoryPair, type MemoryTransport } from '../support/memory-transport.ts'
import type { Random } from '../support/seeded-random.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { Bystander } from './bystander.ts'
import { consume } from './consumer.ts'
import type { Party, Target } from './target.ts'

const SETTINGS = {
  windowBytes: 262_144,
  maxWindowBytes: 1_048_576,
  resumeMs: 20_000,
  maxPerLink: 64,
  userBudgetBytes: 16_777_216,
}
const ATTACKER = 'anna'
const BYSTANDER = 'bert'
/** Streams of its own that an attacked client has at once. */
const MAX_OPENED = 20

function helloOf(role: Hello['role']): Hello {
  return {
    role,
    version: PROTOCOL_VERSION,
    software: 'fuzz',
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: 1_048_576, maxStreams: SETTINGS.maxPerLink },
    resumeMs: SETTINGS.resumeMs,
    ...(role === 'agent' ? { machine: 'home', enrol: { hostKeys: [], sshUser: 'u' } } : {}),
  }
}

/**
 * The parties' own machinery in memory and virtual time. Attacker and bystander share the acceptors and the agent's
 * link, which in a real proxy they do not: what one does to the other shows here first.
 */
export class MemoryTarget implements Target {
  readonly violations: string[] = []
  readonly #clock = new VirtualClock()
  readonly #random: Random
  readonly #party: Party
  readonly #budgets = {
    [ATTACKER]: new Budget(SETTINGS.userBudgetBytes),
    [BYSTANDER]: new Budget(SETTINGS.userBudgetBytes),
  }
  /** Where inspected streams end, and where the agent's do. */
  readonly #here: StreamAcceptor
  readonly #agent: StreamAcceptor
  readonly #opener: StreamOpener
  readonly #memory = new RelayMemory(4_194_304)
  readonly #relays = new Set<Relay>()
  readonly #opened = new Set<TunnelStream>()
  readonly #heldBytes = new Map<TunnelStream, number>()
  readonly #bystanders: Bystander[] = []
  #agentLink: Link | undefined
  /** An attacker in an agent's place: streams go to him. */
  #rivalLink: Link | undefined

  constructor(party: Party, random: Random) {
    this.#party = party
    this.#random = random
    const budgetOf = (subject: string | undefined): Budget | undefined =>
      subject === ATTACKER || subject === BYSTANDER ? this.#budgets[subject] : undefined
    const onStream = (stream: TunnelStream, subject: string | undefined): void => {
      if (subject === BYSTANDER) Bystander.echo(stream)
      else consume(stream, random, this.#heldBytes, (error) => this.#ended(error))
    }
    const clock = this.#clock
    this.#here = new StreamAcceptor({ hop: 'agent', settings: SETTINGS, clock, budgetOf, onStream })
    this.#agent = new StreamAcceptor({ hop: 'agent', settings: SETTINGS, clock, budgetOf, onStream })
    this.#opener = new StreamOpener({ settings: SETTINGS, clock, budget: this.#budgets[ATTACKER] })
  }

  async start(): Promise<this> {
    this.#connectAgent()
    await this.pass(10)
    for (const kind of ['ssh', 'tcp'] as const) await this.#addBystander(kind)
    return this
  }

  #link(transport: MemoryTransport, dialler: boolean, role: Hello['role'], handlers: LinkHandlers): Link {
    return new Link({ transport, dialler, hello: helloOf(role), clock: this.#clock, handlers })
  }

  #connectAgent(): void {
    const pair = new MemoryPair({ clock: this.#clock })
    this.#agentLink = this.#link(pair.b, false, 'proxy', {
      closed: (error) => this.#violation(`the agent's link was lost: ${error.message}`),
    })
    this.#link(pair.a, true, 'agent', this.#agentHandlers())
  }

  /** A proxy says whose a stream is; an attacker in its place says what it likes, but for the bystander's name. */
  #agentHandlers(trusted = true): LinkHandlers {
    const subjectOf = (subject: unknown): string | undefined =>
      trusted ? (subject as string | undefined) : ATTACKER
    return {
      open: (open) => this.#agent.open(open, subjectOf(open.head.subject)),
      resume: (resume) => this.#agent.resume(resume, subjectOf(resume.head.subject)),
    }
  }

  async #addBystander(kind: 'ssh' | 'tcp'): Promise<void> {
    const opener = new StreamOpener({
      settings: SETTINGS,
      clock: this.#clock,
      budget: this.#budgets[BYSTANDER],
    })
    const pair = new MemoryPair({ clock: this.#clock })
    this.#link(pair.b, false, 'proxy', this.#proxyHandlers(BYSTANDER))
    const link: Link = this.#link(pair.a, true, 'client', { ready: () => opener.attach(link) })
    await this.pass(10)
    const stream = opener.open({ kind, machine: 'home' })
    this.#bystanders.push(new Bystander(stream, (text) => this.#violation(text)))
    await this.pass(10)
  }

  #violation(text: string): void {
    if (this.violations.length < 20) this.violations.push(text)
  }

  #proxyHandlers(subject: string): LinkHandlers {
    const route = (incoming: IncomingOpen | IncomingResume): void => {
      if (incoming.head.kind !== 'ssh') {
        if ('first' in incoming) this.#here.open(incoming, subject)
        else this.#here.resume(incoming, subject)
        return
      }
      const relay: Relay = new Relay(incoming, {
        memory: this.#memory,
        onOver: (error) => {
          this.#relays.delete(relay)
          this.#ended(error)
        },
      })
      this.#relays.add(relay)
      const rival = subject === ATTACKER ? this.#rivalLink : undefined
      const to = rival === undefined || rival.closed ? this.#agentLink! : rival
      const connect = (): void => relay.connect(to, { ...incoming.head, subject })
      if (this.#random.chance(0.5)) connect()
      else this.#clock.setTimer(connect, this.#random.below(20))
    }
    return { open: route, resume: route, closed: (error) => this.#ended(error) }
  }

  /** What was thrown by mistake is caught at the stream or the link, and shows as INTERNAL with its cause. */
  #ended(error: TunnelError | undefined): void {
    if (error?.cause instanceof Error && error.code === 'INTERNAL') {
      this.#violation(`something was thrown: ${error.cause.stack}`)
    }
  }

  async dial(): ReturnType<Target['dial']> {
    const pair = new MemoryPair({ clock: this.#clock })
    if (this.#party === 'agent') {
      this.#link(pair.b, true, 'agent', {
        ...this.#agentHandlers(false),
        closed: (error) => this.#ended(error),
      })
      return { transport: pair.a, dialler: false, hello: helloOf('proxy') }
    }
    if (this.#party === 'client') {
      const link: Link = this.#link(pair.b, true, 'client', {
        ready: () => this.#opener.attach(link),
        closed: (error) => this.#ended(error),
      })
      return { transport: pair.a, dialler: false, hello: helloOf('proxy') }
    }
    // At the proxy the attacker is now a client, now an agent whose streams a client of his own opens.
    if (this.#random.chance(0.75)) {
      this.#link(pair.b, false, 'proxy', this.#proxyHandlers(ATTACKER))
      return { transport: pair.a, dialler: true, hello: helloOf('client') }
    }
    const link: Link = this.#link(pair.b, false, 'proxy', {
      ready: () => {
        this.#rivalLink = link
        this.#connectOwnClient()
      },
      closed: (error) => this.#ended(error),
    })
    return { transport: pair.a, dialler: true, hello: helloOf('agent') }
  }

  #connectOwnClient(): void {
    if (this.#opener.link !== undefined && !this.#opener.link.closed) return
    const pair = new MemoryPair({ clock: this.#clock })
    this.#link(pair.b, false, 'proxy', this.#proxyHandlers(ATTACKER))
    const link: Link = this.#link(pair.a, true, 'client', { ready: () => this.#opener.attach(link) })
  }

  act(): void {
    const random = this.#random
    for (const bystander of this.#bystanders) if (random.chance(0.3)) bystander.write(random.below(800))
    for (const [stream, bytes] of this.#heldBytes) {
      if (!random.chance(0.2)) continue
      this.#heldBytes.delete(stream)
      stream.consumed(bytes)
    }
    if (this.#opener.link === undefined || this.#opener.link.closed) return
    for (const stream of this.#opened) if (stream.state === 'closed') this.#opened.delete(stream)
    if (this.#opened.size < MAX_OPENED && random.chance(0.3)) this.#open()
    for (const stream of this.#opened) {
      if (random.chance(0.05)) stream.write(random.bytes(random.below(3_000)))
      if (random.chance(0.02)) stream.end()
      if (random.chance(0.01)) stream.reset(new TunnelError('ABORTED', 'given up', { hop: 'link' }))
    }
  }

  #open(): void {
    const random = this.#random
    try {
      const kind = this.#party === 'client' ? random.pick(['ssh', 'tcp'] as const) : 'ssh'
      const stream = this.#opener.open(
        { kind, machine: 'home' },
        random.bytes(random.below(50)),
        random.chance(0.2),
      )
      this.#opened.add(stream)
      consume(stream, random, this.#heldBytes, (error) => this.#ended(error))
    } catch (error) {
      if (!(error instanceof TunnelError) || error.code !== 'TOO_MANY_STREAMS') throw error
    }
  }

  get bystanderIds(): string[] {
    return this.#bystanders.map(({ stream }) => stream.id)
  }

  get bystanderBytes(): number {
    return this.#bystanders.reduce((sum, { echoed }) => sum + echoed, 0)
  }

  async pass(ms: number): Promise<void> {
    await this.#clock.run(this.#clock.now() + ms)
  }

  async settle(): Promise<void> {
    for (const stream of this.#opened) stream.reset(new TunnelError('ABORTED', 'settled', { hop: 'link' }))
    this.#opened.clear()
    // A client's last words are for a link that lives.
    this.#opener.link?.close()
    await this.pass(3 * SETTINGS.resumeMs)
    for (const bystander of this.#bystanders) bystander.check()
  }

  async leftovers(): Promise<Record<string, number>> {
    return {
      'streams that end at the proxy': this.#here.size,
      'streams that end at the agent': this.#agent.size,
      'streams of the client': this.#opener.size,
      relays: this.#relays.size,
      'bytes in relays': this.#memory.usedBytes,
      'bytes of the attacker': this.#budgets[ATTACKER].usedBytes,
      "places on the agent's link": this.#agentLink!.streamCount,
      timers: this.#clock.pending,
    }
  }
}
