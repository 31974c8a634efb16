import type { TestContext } from 'node:test'
import { Connection, type ConnectionOptions } from '../../dial/connection.ts'
import type { Hello } from '../../protocol/codec/hello.ts'
import { Link } from '../../protocol/link/link.ts'
import type { MemoryPair } from '../support/memory-transport.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'

export const hello: Hello = {
  role: 'client',
  version: 1,
  software: 'test',
  heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
  limits: { maxFrameBytes: 1_048_576, maxStreams: 256 },
  resumeMs: 120_000,
}

/** A connection in a time that the test moves, with backoff that is not by chance. */
export function connectionOf(
  t: TestContext,
  clock: VirtualClock,
  options: Pick<ConnectionOptions, 'urls' | 'dial'> & Partial<ConnectionOptions>,
): { connection: Connection; run: (ms: number) => Promise<void> } {
  const connection = new Connection({
    token: 'token',
    hello: () => hello,
    clock,
    random: () => 0.5,
    backoff: { baseMs: 2_000, multiplier: 2, jitter: 0.3, maxMs: 60_000, maxAttempts: 4 },
    provenMs: 30_000,
    ...options,
  })
  t.after(() => void connection.close())
  return { connection, run: (ms) => clock.run(clock.now() + ms) }
}

/** The proxy's end of a link over memory. */
export function proxyLink({ b: transport }: MemoryPair, clock: VirtualClock): Link {
  return new Link({ transport, dialler: false, hello: { ...hello, role: 'proxy' }, handlers: {}, clock })
}
