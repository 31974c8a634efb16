import { setImmediate } from 'node:timers/promises'
import type { TunnelService } from '../../client/index.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import { dialWebSocket, type StreamDuplex } from '../../protocol/node/index.ts'
import { drop, listenTcp, startProxy, type TestProxy } from '../support/proxy.ts'
import type { Scope } from '../support/scope.ts'
import type { Random } from '../support/seeded-random.ts'
import { Bystander } from './bystander.ts'
import type { Target } from './target.ts'

const ATTACKER = 'mallory'
const BYSTANDER = 'alice'
/** The attacker's machine whose agent he plays himself. */
const RIVAL = 'rival'
/** Streams that the attacker's own client has open to it at once. */
const MAX_OPENED = 20
const MAX_FRAME_BYTES = 1_048_576
const DIAL_MS = 10_000
/** Turns of the event loop in which both sides of a loopback connection read what was sent. */
const TURNS = 4
/** How long what an attacker has left behind may take to go, in ms: some of it waits for its resume window. */
const SETTLE_MS = 15_000

/** A whole proxy on a real port, attacked by a user of his own through WebSockets, with another user beside him. */
export class LiveTarget implements Target {
  readonly violations: string[] = []
  readonly #random: Random
  readonly #proxy: TestProxy
  readonly #bystander: Bystander
  /** The attacker as a client in order, for streams to the agent that he plays. */
  readonly #client: TunnelService
  readonly #opened = new Set<StreamDuplex>()
  #opening = 0
  #atRest: string | undefined

  static async start(scope: Scope, random: Random): Promise<LiveTarget> {
    const proxy = await startProxy(scope, {
      set: ['streams.resumeMs=300', 'log.level=warn', 'tiers.enterprise.links=1000', 'pool.waitMs=200'],
    })
    const echo = await listenTcp(scope, (socket) => socket.pipe(socket))
    await proxy.startAgent('home', BYSTANDER, echo)
    await proxy.startAgent('home', ATTACKER, echo)
    const tunnel = await proxy.connect(BYSTANDER)
    const { stream } = await tunnel.open({ machine: 'home', kind: 'ssh' })
    return new LiveTarget(proxy, random, stream, await proxy.connect(ATTACKER))
  }

  private constructor(proxy: TestProxy, random: Random, stream: Bystander['stream'], client: TunnelService) {
    this.#proxy = proxy
    this.#random = random
    this.#client = client
    this.#bystander = new Bystander(stream, (text) => this.#violation(text))
  }

  #violation(text: string): void {
    if (this.violations.length < 20) this.violations.push(text)
  }

  async dial(): ReturnType<Target['dial']> {
    const role = this.#random.chance(0.75) ? 'client' : 'agent'
    const transport = await dialWebSocket(
      `${this.#proxy.url.replace('http', 'ws')}/api/tunnel/${role === 'client' ? 'connect' : 'agent'}`,
      {
        headers: { authorization: `Bearer ${this.#proxy.tokenOf(ATTACKER)}` },
        timeoutMs: DIAL_MS,
        maxFrameBytes: 2 * MAX_FRAME_BYTES,
      },
    )
    return { transport, dialler: true, hello: helloOf(role) }
  }

  act(): void {
    const random = this.#random
    if (random.chance(0.3)) this.#bystander.write(random.below(800))
    if (this.#opened.size + this.#opening < MAX_OPENED && random.chance(0.2)) this.#open()
    for (const stream of this.#opened) {
      if (random.chance(0.05)) stream.write(random.bytes(random.below(3_000)))
      if (random.chance(0.02)) stream.end()
      if (random.chance(0.02) && !stream.destroyed) drop(stream)
    }
  }

  #open(): void {
    this.#opening++
    this.#client
      .open({ machine: RIVAL, kind: 'ssh', timeoutMs: 1_000 })
      .then(
        (stream) => {
          this.#opened.add(stream)
          stream
            .on('error', () => {})
            .on('close', () => this.#opened.delete(stream))
            .resume()
        },
        () => {}, // what the rival agent makes of it is the attack
      )
      .finally(() => this.#opening--)
  }

  get bystanderIds(): string[] {
    return [this.#bystander.stream.id]
  }

  get bystanderBytes(): number {
    return this.#bystander.echoed
  }

  async pass(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) await setImmediate()
  }

  /** Until nothing is left of the attacker, or until it is clear that something stays. */
  async settle(): Promise<void> {
    const deadlineMs = performance.now() + SETTLE_MS
    for (;;) {
      for (const stream of this.#opened) if (!stream.destroyed) drop(stream)
      const state = JSON.stringify(await this.leftovers())
      const whole = this.#bystander.complete
      if (whole && this.#opening === 0 && state === (this.#atRest ?? state)) {
        this.#atRest = state
        return
      }
      if (performance.now() > deadlineMs) return this.#bystander.check()
      await setImmediate()
    }
  }

  async leftovers(): Promise<Record<string, number>> {
    const { app, log } = this.#proxy
    for (const { level, message, context } of log.splice(0)) {
      if (level === 'ERROR') this.#violation(`the proxy logged: ${message} ${JSON.stringify(context)}`)
    }
    const connections = await new Promise<number>((resolve) =>
      app.server.getConnections((_, count) => resolve(count)),
    )
    const { connecting, busy, idle } = app.pool.states()
    return {
      links: app.links.count,
      connections,
      'SSH connections': connecting + busy + idle,
      'streams of the attacker': this.#opened.size,
    }
  }
}

function helloOf(role: 'client' | 'agent'): Hello {
  return {
    role,
    version: PROTOCOL_VERSION,
    software: 'fuzz',
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: MAX_FRAME_BYTES, maxStreams: 64 },
    resumeMs: 20_000,
    ...(role === 'agent' ? { machine: RIVAL, enrol: { hostKeys: [], sshUser: 'u' } } : {}),
  }
}
