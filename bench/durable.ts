import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { encodeRecord } from '../client/queue/record.ts'
import { clientOf, startProxy } from '../test/client/proxy.ts'
import { storedRequest } from '../test/client/queue/requests.ts'
import type { Scope } from '../test/support/scope.ts'
import { tempFolder } from '../test/support/tree.ts'
import { median } from './report.ts'

export interface DurableOptions {
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
  /** Medians of the rounds' own ratios. */
  ratio: number
}

const BODY_BYTES = 200

/** Requests accepted on disk, beside records of the same size that LevelDB writes in synced batches: in turn, on one disk. */
export async function measureDurable(scope: Scope, options: DurableOptions): Promise<DurableReport> {
  const { rounds, requests } = options
  const rates: { accepted: number; raw: number }[] = []
  for (let round = 0; round <= rounds; round++) {
    const dir = await tempFolder(scope, 'durable')
    const raw = requests / (await rawSeconds(dir, options))
    const accepted = requests / (await acceptSeconds(scope, dir, options))
    // The first warms up.
    if (round > 0) rates.push({ accepted, raw })
  }
  return {
    accepted: median(rates.map((rate) => rate.accepted)),
    raw: median(rates.map((rate) => rate.raw)),
    ratio: median(rates.map((rate) => rate.accepted / rate.raw)),
  }
}

async function rawSeconds(dir: string, { requests, concurrency }: DurableOptions): Promise<number> {
  const level = new ClassicLevel<string, Uint8Array>(join(dir, 'raw'), { valueEncoding: 'view' })
  await level.open()
  const value = encodeRecord(storedRequest({ body: new Uint8Array(BODY_BYTES) }))
  const startedAtMs = performance.now()
  for (let written = 0; written < requests; written += concurrency) {
    const keys = Array.from(
      { length: concurrency },
      (_, index) => `r!${String(written + index).padStart(16, '0')}`,
    )
    await level.batch(
      keys.map((key) => ({ type: 'put' as const, key, value })),
      { sync: true },
    )
  }
  const seconds = (performance.now() - startedAtMs) / 1_000
  await level.close()
  return seconds
}

async function acceptSeconds(
  scope: Scope,
  dir: string,
  { requests, concurrency }: DurableOptions,
): Promise<number> {
  // One place, which is never given back: nothing but acceptance is measured.
  const proxy = await startProxy(scope, { maxStreams: 1, onStream: () => {} })
  const settings = { queue: { dir: join(dir, 'queue'), maxRequests: requests + concurrency } }
  const tunnel = clientOf(scope, proxy.url, { settings })
  await tunnel.connect()
  const body = new Uint8Array(BODY_BYTES)
  const accept = async () => {
    const { accepted, response } = tunnel.enqueue({ machine: 'home', method: 'POST', body, priority: 'high' })
    response.catch(() => {})
    await accepted
  }
  await accept()
  const startedAtMs = performance.now()
  let begun = 0
  const worker = async () => {
    while (begun++ < requests) await accept()
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  const seconds = (performance.now() - startedAtMs) / 1_000
  await tunnel.disconnect(0)
  return seconds
}

export function renderDurable(
  { accepted, raw, ratio }: DurableReport,
  { concurrency }: DurableOptions,
): string {
  const number = (rate: number) => rate.toFixed(0)
  return `
accepted on disk, ${concurrency} at once: ${number(accepted)} requests/s; LevelDB alone, in synced batches of ${concurrency}: ${number(raw)}/s; ratio ${ratio.toFixed(2)}`
}
