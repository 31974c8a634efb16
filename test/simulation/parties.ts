import { Session } from '../../client/session.ts'
import { resolveSettings } from '../../client/settings.ts'
import { Connection } from '../../dial/connection.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import { StreamAcceptor } from '../../protocol/stream/acceptor.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { ProcessClock } from './process-clock.ts'
import type { World } from './world.ts'

export const SETTINGS = resolveSettings({}, 'simulation', {
  heartbeat: { intervalMs: 1_000, timeoutMs: 2_500 },
  streams: {
    windowBytes: 65_536,
    maxWindowBytes: 524_288,
    resumeMs: 20_000,
    maxPerLink: 64,
    userBudgetBytes: 67_108_864,
  },
  backoff: { baseMs: 500, maxAttempts: 1_000_000 },
})
/** Where agents have their homes. */
export const HOMES = ['ws://a', 'ws://b'] as const
export const SOFTWARE = 'simulation'

export function helloOf(role: Hello['role'], instance?: string): Hello {
  const { heartbeat, limits, streams } = SETTINGS
  return {
    role,
    version: PROTOCOL_VERSION,
    software: SOFTWARE,
    heartbeat,
    limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: streams.maxPerLink },
    resumeMs: streams.resumeMs,
    ...(instance === undefined ? {} : { instance }),
  }
}

/** A client's session, as the library has it, with every proxy's address. */
export function newClient(world: World, clock: ProcessClock): Session {
  return new Session({
    urls: world.urls,
    token: 'token',
    settings: SETTINGS,
    platform: {
      dial: world.network.dialOf('client', clock),
      watchNetwork: () => () => {},
      clock,
      random: world.random,
      software: SOFTWARE,
    },
  })
}

/** An agent that is at home on two proxies: its streams, and a connection to each. */
export class Machine {
  readonly clock: ProcessClock
  readonly budget = new Budget(SETTINGS.streams.userBudgetBytes)
  readonly acceptor: StreamAcceptor
  readonly connections: Connection[]

  constructor(world: World, onStream: (stream: TunnelStream) => void) {
    const clock = new ProcessClock(world.clock)
    this.clock = clock
    this.acceptor = new StreamAcceptor({
      settings: SETTINGS.streams,
      clock,
      hop: 'agent',
      budgetOf: () => this.budget,
      onStream,
    })
    const { acceptor } = this
    const hello: Hello = {
      ...helloOf('agent', 'agent'),
      machine: 'home',
      enrol: { hostKeys: ['ssh-ed25519 AAAA'], sshUser: 'ada' },
    }
    this.connections = HOMES.map(
      (url) =>
        new Connection({
          urls: [url],
          token: 'token',
          hello: () => hello,
          dial: world.network.dialOf('agent', clock),
          clock,
          compression: undefined,
          backoff: SETTINGS.backoff,
          provenMs: SETTINGS.heartbeat.intervalMs,
          random: world.random,
          streams: () => acceptor.size,
          accept: {
            open: (open) => void acceptor.open(open, open.head.subject),
            resume: (resume) => acceptor.resume(resume, resume.head.subject),
          },
        }),
    )
  }
}
