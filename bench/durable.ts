import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { encodeRecord } from '../client/queue/record.ts'
import { startProxy } from '../test/client/proxy.ts'
import { storedRequest } from '../test/client/queue/requests.ts'
import { Cleanup, type Scope } from '../test/support/scope.ts'
import { tempFolder } from '../test/support/tree.ts'
import { median } from './report.ts'

export interface DurableOptions {
  /** Each with a store of its own; one more before them warms up. */
  rounds: number
  /** Accepted in a round. */
  requests: number
  /** That ask for acceptance at once; LevelDB's own batches have as many. */
  concurrency: number
}

/** Per second, medians. */
export interface DurableReport {
  accepted: number
  raw: number
  /** Median of the pairs' own ratios. */
  ratio: number
}

/** Writes so many records, or has so many requests accepted, and says how long it took, in seconds. */
type Work = (count: number) => Promise<number>

const BODY_BYTES = 200
const SHIPPED = new URL('../dist/client/index.js', import.meta.url).href
/** A disk is not as fast now as it was a moment ago: what is compared is done in short turns, one after the other. */
const PAIRS = 20

/** Requests accepted on disk, beside records of the same size that LevelDB writes in synced batches: in turn, on one disk. */
export async function measureDurable(scope: Scope, options: DurableOptions): Promise<DurableReport> {
  const { rounds, requests, concurrency } = options
  const pairs: { accepted: number; raw: number }[] = []
  for (let round = 0; round <= rounds; round++) {
    const own = new Cleanup()
    scope.after(() => own.close())
    const dir = await tempFolder(own, 'durable')
    const write = await rawWork(own, dir, concurrency)
    const accept = await acceptWork(own, dir, options)
    const count = Math.ceil(requests / PAIRS / concurrency) * concurrency
    for (let pair = 0; pair < PAIRS; pair++) {
      // Whoever is second has the other's rubbish to collect.
      const first = pair % 2 === 0 ? await write(count) : await accept(count)
      const second = pair % 2 === 0 ? await accept(count) : await write(count)
      const [raw, accepted] = pair % 2 === 0 ? [first, second] : [second, first]
      if (round > 0) pairs.push({ accepted: count / accepted, raw: count / raw })
    }
    await own.close()
  }
  return {
    accepted: median(pairs.map((pair) => pair.accepted)),
    raw: median(pairs.map((pair) => pair.raw)),
    ratio: median(pairs.map((pair) => pair.accepted / pair.raw)),
  }
}

async function rawWork(scope: Scope, dir: string, concurrency: number): Promise<Work> {
  const level = new ClassicLevel<string, Uint8Array>(join(dir, 'raw'), { valueEncoding: 'view' })
  await level.open()
  scope.after(() => level.close())
  const value = encodeRecord(storedRequest({ body: new Uint8Array(BODY_BYTES) }))
  let written = 0
  return async (count) => {
    const startedAtMs = performance.now()
    for (const end = written + count; written < end; written += concurrency) {
      const keys = Array.from(
        { length: concurrency },
        (_, index) => `r!${String(written + index).padStart(16, '0')}`,
      )
      await level.batch(
        keys.map((key) => ({ type: 'put' as const, key, value })),
        { sync: true },
      )
    }
    return (performance.now() - startedAtMs) / 1_000
  }
}

async function acceptWork(
  scope: Scope,
  dir: string,
  { requests, concurrency }: DurableOptions,
): Promise<Work> {
  // One place, which is never given back: nothing but acceptance is measured.
  const proxy = await startProxy(scope, { maxStreams: 1, onStream: () => {} })
  const settings = { queue: { dir: join(dir, 'queue'), maxRequests: 2 * requests + PAIRS * concurrency } }
  // What is shipped: tsx gives each function its name, which costs as much as what is measured.
  const { TunnelService }: typeof import('../client/index.ts') = await import(SHIPPED)
  const tunnel = new TunnelService({ url: proxy.url, token: 'token', settings })
  scope.after(() => tunnel.disconnect(0))
  await tunnel.connect()
  const body = new Uint8Array(BODY_BYTES)
  const accept = async () => {
    const { accepted, response } = tunnel.enqueue({ machine: 'home', method: 'POST', body, priority: 'high' })
    response.catch(() => {})
    await accepted
  }
  await accept()
  return async (count) => {
    const startedAtMs = performance.now()
    let begun = 0
    const worker = async () => {
      while (begun++ < count) await accept()
    }
    await Promise.all(Array.from({ length: concurrency }, worker))
    return (performance.now() - startedAtMs) / 1_000
  }
}

export function renderDurable(
  { accepted, raw, ratio }: DurableReport,
  { concurrency }: DurableOptions,
): string {
  const number = (rate: number) => rate.toFixed(0)
  return `
accepted on disk, ${concurrency} at once: ${number(accepted)} requests/s; LevelDB alone, in synced batches of ${concurrency}: ${number(raw)}/s; ratio ${ratio.toFixed(2)}`
}
