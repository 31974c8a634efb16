import assert from 'node:assert/strict'
import test from 'node:test'
import type { User } from '../../../plugins/auth/index.ts'
import { TunnelHooks } from '../../../plugins/forward/hooks.ts'
import { type OpenerLink, type StreamServices, Streams } from '../../../plugins/forward/streams.ts'
import type { Route } from '../../../plugins/machines/index.ts'
import { OFF } from '../../../plugins/tracing/tracing.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import * as frames from '../../../protocol/codec/frames.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import { type Hello, PROTOCOL_VERSION } from '../../../protocol/codec/hello.ts'
import { Link } from '../../../protocol/link/link.ts'
import { StreamAcceptor } from '../../../protocol/stream/acceptor.ts'
import { MemoryPair } from '../../support/memory-transport.ts'
import { tiersByDefault } from '../../support/tiers.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/* Several attempts on one stream at once, as no honest opener makes them: under one id there is one stream. */

const STREAMS = {
  windowBytes: 65_536,
  maxWindowBytes: 65_536,
  resumeMs: 5_000,
  maxPerLink: 64,
  userBudgetBytes: 16_777_216,
}
const LIMITS = { ...tiersByDefault().free, budgetBytes: STREAMS.userBudgetBytes }
const ID = 'a'.repeat(32)
const ADA: User = { sub: 'ada', tier: 'enterprise', roles: [], expiresAtMs: Number.POSITIVE_INFINITY }

/** Waits until the test lets it go on, or refuses. */
class Gate {
  readonly opened: Promise<void>
  open: () => void = () => {}
  refuse: (error: TunnelError) => void = () => {}
  constructor() {
    this.opened = new Promise((resolve, reject) => {
      this.open = resolve
      this.refuse = reject
    })
    this.opened.catch(() => {})
  }
}

interface Audited {
  event: string
  details: { outcome?: string; bytesIn?: number }
}

class Scene {
  readonly clock = new VirtualClock()
  readonly hooks = new TunnelHooks(60_000, this.clock)
  readonly audited: Audited[] = []
  /** What each check of policy was asked, and what it waits for. */
  readonly policy: { kind: string; target: string | undefined }[] = []
  onPolicy: (target: string | undefined) => Promise<void> = async () => {}
  /** Tokens that were taken from the user's bucket. */
  taken = 0
  /** How often machines are not known yet, before `home` is. */
  unknownFor = 0
  /** What the way to the machine waits for. */
  way: Promise<void> = Promise.resolve()
  readonly streams: Streams
  readonly agent: Link
  readonly agentStreams: string[] = []

  constructor() {
    const { clock } = this
    const agentPair = new MemoryPair({ clock })
    const acceptor = new StreamAcceptor({
      hop: 'agent',
      settings: STREAMS,
      clock,
      onStream: (stream) => {
        this.agentStreams.push(stream.id)
        stream.handle({ data: (bytes) => stream.consumed(bytes.length) })
        stream.accept()
      },
    })
    new Link({
      ...{ transport: agentPair.a, dialler: true, hello: hello('agent'), clock },
      handlers: {
        open: (open) => acceptor.open(open, open.head.subject),
        resume: (resume) => acceptor.resume(resume, resume.head.subject),
      },
    })
    this.agent = new Link({
      ...{ transport: agentPair.b, dialler: false, hello: hello('proxy'), clock, handlers: {} },
    })
    const route = {
      source: 'agent',
      owner: 'ada',
      name: 'home',
      link: () => this.way.then(() => this.agent),
    } as never as Route
    const nothing = { inc() {}, observe() {} }
    const services = {
      policy: {
        check: ({ kind, target }: { kind: string; target?: string }) => {
          this.policy.push({ kind, target })
          return this.onPolicy(target)
        },
      },
      auth: { check() {} },
      tiers: { limitsOf: () => LIMITS },
      rateLimits: {
        bytesPerSecond: () => 0,
        takeStream: async () => {
          this.taken++
        },
      },
      machines: {
        resolve: async (): Promise<Route> => {
          if (this.unknownFor-- > 0)
            throw new TunnelError('MACHINE_UNKNOWN', 'no such machine', { hop: 'proxy' })
          return route
        },
        whenOnline: (_owner: string, _name: string, go: (link: Link) => void) => {
          go(this.agent)
          return () => {}
        },
      },
      audit: { record: (event: Audited) => void this.audited.push(event) },
      tracing: OFF,
      pool: { waiting: () => 0, acquire: () => new Promise(() => {}), open: () => new Promise(() => {}) },
      tunnelMetrics: {
        ...{ requests: nothing, requestLatencyMs: nothing, streamResumes: nothing },
        ...{ bytes: nothing, streamOpens: nothing, streamOpenMs: nothing },
        countError() {},
      },
    }
    const request = { timeoutMs: 10_000, bodyMs: 10_000, idleMs: 3_600_000, slowMs: 10_000, hookMs: 10_000 }
    this.streams = new Streams(
      { streams: STREAMS, request, clock },
      services as never as StreamServices,
      this.hooks,
    )
  }

  /** A client that says what it likes. */
  async client(user = ADA): Promise<Client> {
    const { clock, streams } = this
    const pair = new MemoryPair({ clock })
    const client = new Link({
      ...{ transport: pair.a, dialler: true, hello: hello('client'), clock, handlers: {} },
    })
    const log = { debug() {}, info() {}, warn() {}, error() {} } as never
    const context = { user, role: 'client' as const, connectionId: 'c', correlationId: 'r', log }
    const link: Link = new Link({
      ...{ transport: pair.b, dialler: false, hello: hello('proxy'), clock },
      handlers: {
        open: (open) => streams.open(door, open),
        resume: (resume) => streams.resume(door, resume),
        closed: () => streams.leave(link),
      },
    })
    const door: OpenerLink = { link, context, admitted: Promise.resolve() }
    streams.join(door)
    const made = new Client(client)
    pair.b.onSend = (frame) => made.got.push(frame.slice())
    await this.turn()
    return made
  }

  /** Lets everything happen that can without time. */
  async turn(): Promise<void> {
    for (let round = 0; round < 10; round++) await this.clock.run(this.clock.now())
  }

  /** Streams that the proxy knows of. */
  get counted(): number {
    return [...this.streams.overview.counts()].reduce((sum, [, , count]) => sum + count, 0)
  }
  get ends(): string[] {
    return this.audited.map(({ event, details }) => `${event} ${details.outcome}`)
  }
}

class Client {
  readonly link: Link
  readonly got: Uint8Array[] = []
  constructor(link: Link) {
    this.link = link
  }

  open(more: Record<string, unknown> = {}): number {
    const number = this.link.takeNumber()
    const head = { id: ID, kind: 'ssh', machine: 'home', window: 65_536, ...more }
    this.link.send(frames.encodeHead(FrameType.OPEN, number, head))
    return number
  }
  resume(more: Record<string, unknown> = {}): number {
    const number = this.link.takeNumber()
    const head = { id: ID, kind: 'ssh', machine: 'home', received: 0, limit: 65_536, attempt: 1, ...more }
    this.link.send(frames.encodeJson(FrameType.RESUME, number, head))
    return number
  }
  reset(number: number): void {
    this.link.send(frames.encodeJson(FrameType.RESET, number, { code: 'ABORTED', message: 'enough' }))
  }
  /** The types of the frames that came for a number. */
  types(number: number): number[] {
    const mine = this.got.filter((frame) => frames.streamNumber(frame) === number)
    return mine.map((frame) => (frame[0] ?? 0) & frames.TYPE_MASK)
  }
}

function hello(role: Hello['role']): Hello {
  return {
    ...{ role, version: PROTOCOL_VERSION, software: 'test', resumeMs: STREAMS.resumeMs },
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: 1_048_576, maxStreams: STREAMS.maxPerLink },
  }
}

/** Two OPENs of one stream wait at `gate`, which refuses them: neither comes to the agent. */
async function assertBothRefused(scene: Scene, gate: Gate): Promise<void> {
  const client = await scene.client()
  const numbers = [client.open(), client.open()]
  await scene.turn()
  assert.deepEqual(scene.agentStreams, [])
  gate.refuse(new TunnelError('POLICY_DENIED', 'not today', { hop: 'proxy' }))
  await scene.turn()
  assert.deepEqual(scene.agentStreams, [])
  for (const number of numbers) assert.deepEqual(client.types(number), [FrameType.RESET])
}

test('a second OPEN of a stream whose first is being admitted is asked all that the first is asked', async () => {
  const scene = new Scene()
  const gate = new Gate()
  scene.hooks.addHook('preOpen', () => gate.opened)
  await assertBothRefused(scene, gate)
  assert.deepEqual(scene.ends, ['stream.refused POLICY_DENIED'])
  assert.equal(scene.counted, 0)
})

test('a RESUME does not make the OPEN beside it one that was admitted', async () => {
  const scene = new Scene()
  scene.hooks.addHook('preOpen', () => {
    throw new TunnelError('POLICY_DENIED', 'not today', { hop: 'proxy' })
  })
  const client = await scene.client()
  client.resume()
  const number = client.open()
  await scene.turn()
  assert.deepEqual(scene.agentStreams, [])
  assert.deepEqual(client.types(number), [FrameType.RESET])
})

test('a stream whose RESUME was faster than its OPEN is one that began here: its end is told', async () => {
  const scene = new Scene()
  const told: string[] = []
  scene.hooks.addHook('onOpen', () => {
    told.push('onOpen')
    throw new TunnelError('FORBIDDEN', 'not now', { hop: 'proxy' })
  })
  scene.hooks.addHook('onClose', ({ error }) => void told.push(`onClose ${error?.code}`))
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  const client = await scene.client()
  client.resume()
  client.open()
  await scene.turn()
  gate.open()
  await scene.turn()
  await scene.clock.run(scene.clock.now() + STREAMS.resumeMs + 1)
  assert.deepEqual(told, ['onOpen', 'onClose FORBIDDEN'])
  assert.deepEqual(scene.ends, ['stream.closed FORBIDDEN'])
  assert.equal(scene.counted, 0)
})

test('the hook onOpen is not called for a stream that was given up before its way stood', async () => {
  const scene = new Scene()
  const told: string[] = []
  scene.hooks.addHook('onOpen', () => void told.push('onOpen'))
  scene.hooks.addHook('onClose', () => void told.push('onClose'))
  const way = new Gate()
  scene.way = way.opened
  const client = await scene.client()
  const number = client.open()
  await scene.turn()
  client.reset(number)
  await scene.turn()
  way.open()
  await scene.turn()
  assert.deepEqual(told, ['onClose'])
})

test('an OPEN of another kind, machine or target under the id of a stream is refused', async () => {
  const scene = new Scene()
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  const client = await scene.client()
  const first = client.open({ target: 'secret:22' })
  const others = [{ target: 'public:22' }, { machine: 'office' }, { kind: 'tcp', target: 'secret:22' }]
  const numbers = others.map((other) => client.open({ target: 'secret:22', ...other }))
  const resumed = client.resume({ target: 'secret:22', machine: 'office' })
  await scene.turn()
  for (const number of [...numbers, resumed]) assert.deepEqual(client.types(number), [FrameType.RESET])
  assert.deepEqual(scene.policy, [{ kind: 'ssh', target: 'secret:22' }])
  gate.open()
  await scene.turn()
  assert.deepEqual(client.types(first), [FrameType.ACCEPT])
})

test('OPENs of a kind that no plugin carries leave no trace, and whoever goes on with them loses the link', async () => {
  const scene = new Scene()
  const client = await scene.client()
  const idOf = (index: number) => index.toString(16).padStart(32, '0')
  for (let index = 0; index <= 1_000; index++) {
    client.open({ id: idOf(index), kind: 'x-nobody' })
    if (index % 100 === 0) await scene.turn()
  }
  await scene.turn()
  assert.equal(client.link.closed, true)
  assert.deepEqual([scene.audited, scene.policy, scene.taken], [[], [], 0])
})

test('nobody passes while the hook onOpen that holds the stream has not answered', async () => {
  const scene = new Scene()
  const gate = new Gate()
  scene.hooks.addHook('onOpen', () => gate.opened)
  await assertBothRefused(scene, gate)
  assert.deepEqual(scene.ends, ['stream.closed POLICY_DENIED'])
})

test('a stream that one attempt gives up ends in every other, and is not carried on unseen', async () => {
  const scene = new Scene()
  const client = await scene.client()
  const carried = client.open()
  await scene.turn()
  assert.deepEqual(client.types(carried), [FrameType.ACCEPT])
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  client.reset(client.open())
  await scene.turn()
  gate.open()
  await scene.turn()
  assert.deepEqual(client.types(carried), [FrameType.ACCEPT, FrameType.RESET])
  assert.deepEqual(scene.ends, ['stream.closed ABORTED'])
  assert.equal(scene.counted, 0)
})

test('an attempt whose link closes does not suspend a stream that another link carries', async () => {
  const scene = new Scene()
  const client = await scene.client()
  const other = await scene.client()
  const carried = client.open()
  await scene.turn()
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  other.open()
  await scene.turn()
  other.link.close()
  await scene.turn()
  gate.open()
  await scene.clock.run(scene.clock.now() + 2 * STREAMS.resumeMs)
  assert.deepEqual(scene.ends, [])
  assert.deepEqual(
    [...scene.streams.overview.counts()].filter(([, , count]) => count > 0),
    [['ssh', 'open', 1]],
  )
  assert.deepEqual(client.types(carried), [FrameType.ACCEPT])
})

test('an older attempt that is refused late does not end what a newer one carries', async () => {
  const scene = new Scene()
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  const client = await scene.client()
  client.open()
  await scene.turn()
  scene.onPolicy = async () => {}
  const newer = client.open()
  await scene.turn()
  assert.deepEqual(client.types(newer), [FrameType.ACCEPT])
  gate.refuse(new TunnelError('POLICY_DENIED', 'too late', { hop: 'proxy' }))
  await scene.turn()
  assert.deepEqual(scene.ends, [])
  assert.equal(scene.counted, 1)
})

test('a stream that comes from another proxy is not carried unseen when one of two RESUMEs is refused', async () => {
  const scene = new Scene()
  const client = await scene.client()
  const head = { id: ID, kind: 'ssh', machine: 'home', window: 65_536, subject: 'ada' }
  scene.agent.send(frames.encodeHead(FrameType.OPEN, scene.agent.takeNumber(), head))
  await scene.turn()
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  const carried = client.resume()
  await scene.turn()
  scene.onPolicy = async () => {
    throw new TunnelError('POLICY_DENIED', 'not this one', { hop: 'proxy' })
  }
  const refused = client.resume()
  await scene.turn()
  assert.deepEqual(client.types(refused), [FrameType.RESET])
  scene.onPolicy = async () => {}
  gate.open()
  await scene.turn()
  assert.equal(client.types(carried)[0], FrameType.RESUMED)
  assert.equal(scene.counted, 1)
  client.reset(carried)
  await scene.turn()
  assert.deepEqual(scene.ends, ['stream.closed ABORTED'])
})

test('whose a stream was that was opened twice at once is forgotten after the resume window', async () => {
  const scene = new Scene()
  const gate = new Gate()
  scene.onPolicy = () => gate.opened
  const client = await scene.client()
  const head = { kind: 'tcp', target: 'localhost:80' }
  const numbers = [client.open(head), client.open(head)]
  gate.open()
  await scene.turn()
  for (const number of numbers) client.reset(number)
  await scene.turn()
  assert.equal(scene.counted, 0)
  assert.deepEqual(scene.ends, ['stream.closed ABORTED'])
  await scene.clock.run(scene.clock.now() + 2 * STREAMS.resumeMs)
  const bob = await scene.client({ ...ADA, sub: 'bob' })
  bob.resume({ kind: 'tcp', target: 'localhost:80' })
  await scene.turn()
  assert.equal(scene.audited.length, 1)
})

test('a machine that comes on line while a RESUME is being admitted is not taken for a stranger', async () => {
  const scene = new Scene()
  const client = await scene.client()
  const first = client.open()
  await scene.turn()
  assert.deepEqual(client.types(first), [FrameType.ACCEPT])
  scene.unknownFor = 1
  const second = client.resume()
  await scene.turn()
  const resumed = [FrameType.RESUMED, FrameType.ACCEPT]
  assert.deepEqual(client.types(second), resumed)
  await scene.clock.run(scene.clock.now() + 10_000)
  assert.deepEqual(client.types(second), resumed)
})
