import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { TunnelService } from '../../client/index.ts'
import { liveBytes } from '../support/memory.ts'
import { processFacts } from '../support/proc.ts'
import { seededBytes } from '../support/random.ts'
import type { Scope } from '../support/scope.ts'
import { MACHINE, startTopology } from '../support/topology.ts'
import { RecoveryTimes } from './recovery.ts'

export interface HerdResult {
  clients: number
  /** Streams that gave back every byte, once and in order. */
  intact: number
  /** From the cut until the echo of what was written after it, in ms. */
  p50Ms: number
  p95Ms: number
  slowestMs: number
  /** Memory of the proxy with all clients at rest, before the cut and after everyone has resumed, in bytes. */
  residentBefore: number
  residentAfter: number
  /** The same without garbage: what it holds. */
  liveBefore: number
  liveAfter: number
  /** Every stream is intact, and the proxy holds no more than before. */
  ok: boolean
  detail?: string
}

/**
 * What the proxy may hold more after the cut than before it, in bytes. Measured: nothing, with 300 clients and with
 * 1,000. A link that is kept costs more than 10 KiB.
 */
const GROWTH_BYTES = 524_288
const GROWTH_PER_CLIENT_BYTES = 1_024
/** How long the last of the old links may take to go, in ms. */
const SETTLE_MS = 20_000

/** What each stream carries before the cut and after it. */
const MESSAGE_BYTES = 4_096

async function startEcho(scope: Scope): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Many clients with a sealed stream each lose their links at once, twice: the second time is measured. */
export async function runHerd(scope: Scope, clients: number, profile: string): Promise<HerdResult> {
  const echo = await startEcho(scope)
  const streams = `streams.maxPerLink=${clients + 100}`
  const budgetBytes = (clients + 100) * 1_048_576
  const topology = await startTopology(scope, {
    profile,
    relays: true,
    allow: [echo],
    set: [
      streams,
      `tiers.enterprise.budgetBytes=${budgetBytes}`,
      `tiers.enterprise.links=${clients + 100}`,
      'rateLimit.perIpPerMinute=1000000',
    ],
    agentSet: [streams, `streams.userBudgetBytes=${budgetBytes}`],
    tellsMemory: true,
  })
  const relay = topology.clientRelay!
  const herd = await Promise.all(
    Array.from({ length: clients }, async () => {
      const tunnel = new TunnelService({ url: topology.url, token: topology.token, profile })
      scope.after(() => tunnel.disconnect(0))
      await tunnel.connect()
      const stream = await tunnel.open({ machine: MACHINE, kind: 'ssh', target: echo })
      stream.on('error', () => {}) // told by the read that it breaks
      return stream
    }),
  )
  const resident = () => processFacts(topology.proxy.pid)?.residentBytes ?? 0

  /** Writes to every stream and reads it back; the time that each took. */
  const exchange = (seed: string) =>
    Promise.allSettled(
      herd.map(async (stream, number) => {
        const beganMs = RecoveryTimes.now()
        const sent = seededBytes(`${seed} ${number}`, MESSAGE_BYTES)
        stream.write(sent)
        const received: Buffer[] = []
        for (let byteCount = 0; byteCount < MESSAGE_BYTES; ) {
          const chunk = (stream.read() as Buffer | null) ?? undefined
          if (chunk === undefined) {
            if (stream.destroyed) throw stream.errored ?? new Error('the stream ended')
            await Promise.race([once(stream, 'readable'), once(stream, 'close')])
          } else {
            received.push(chunk)
            byteCount += chunk.length
          }
        }
        if (!Buffer.concat(received).equals(sent)) throw new Error('other bytes came back')
        return RecoveryTimes.now() - beganMs
      }),
    )

  // A stream that has moved once holds some kilobytes more than one that never did, and none for each further move.
  await exchange('first')
  relay.cut()
  const before = await exchange('before')
  const liveBefore = await liveBytes(topology.proxy)
  const residentBefore = resident()
  relay.cut()
  const after = await exchange('after')
  const mayHold = liveBefore + GROWTH_BYTES + clients * GROWTH_PER_CLIENT_BYTES
  const deadlineMs = performance.now() + SETTLE_MS
  let liveAfter = await liveBytes(topology.proxy)
  while (liveAfter > mayHold && performance.now() < deadlineMs) liveAfter = await liveBytes(topology.proxy)

  const times = after.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])).sort((a, b) => a - b)
  const failed = [...before, ...after].find((one) => one.status === 'rejected')
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  const intact = before.filter(
    (one, number) => one.status === 'fulfilled' && after[number]?.status === 'fulfilled',
  ).length
  const detail =
    (failed && String(failed.reason)) ??
    (liveAfter > mayHold
      ? `the proxy holds ${liveAfter - liveBefore} bytes more than before the cut`
      : undefined)
  return {
    clients,
    intact,
    p50Ms: at(0.5),
    p95Ms: at(0.95),
    slowestMs: at(1),
    residentBefore,
    residentAfter: resident(),
    liveBefore,
    liveAfter,
    ok: detail === undefined,
    ...(detail !== undefined && { detail }),
  }
}
