// A process of its own, so that the proxy's memory and CPU can be told from its callers': a line of JSON on stdin is a job,
// and its outcome is a line on stdout.
import { createInterface } from 'node:readline'
import { Pool } from 'undici'
import { TunnelService } from '../../client/index.ts'
import { percentile } from '../support/percentile.ts'
import type { Job, Outcome } from './load.ts'

const links: TunnelService[] = []
/** Dialled at once. */
const DIALS = 20

async function connect({ url, token, count }: Job & { do: 'connect' }): Promise<void> {
  let left = count
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const tunnel = new TunnelService({ url, token })
      await tunnel.connect()
      links.push(tunnel)
    }
  }
  await Promise.all(Array.from({ length: DIALS }, worker))
}

/** So many requests a second, whether or not those before have been answered: each is late by what it had to wait. */
async function load(
  ask: (index: number) => Promise<number>,
  perSecond: number,
  seconds: number,
): Promise<Outcome> {
  const took: number[] = []
  const errors: Record<string, number> = {}
  const pending: Promise<void>[] = []
  const beganMs = performance.now()
  const requests = perSecond * seconds
  const one = async (index: number): Promise<void> => {
    const dueMs = beganMs + (index * 1_000) / perSecond
    try {
      const status = await ask(index)
      if (status !== 200) throw Object.assign(new Error(), { code: `status ${status}` })
      took.push(performance.now() - dueMs)
    } catch (error) {
      const { code = String(error) } = error as { code?: string }
      errors[code] = (errors[code] ?? 0) + 1
    }
  }
  while (pending.length < requests) {
    const due = Math.min(requests, Math.floor(((performance.now() - beganMs) * perSecond) / 1_000) + 1)
    while (pending.length < due) pending.push(one(pending.length))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(pending)
  const [p50Ms, p95Ms, p99Ms] = [0.5, 0.95, 0.99].map((share) => percentile(took, share)) as [
    number,
    number,
    number,
  ]
  return { requests, errors, p50Ms, p95Ms, p99Ms }
}

async function direct({ port, perSecond, seconds }: Job & { do: 'direct' }): Promise<Outcome> {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 64, pipelining: 1 })
  const ask = async (): Promise<number> => {
    const { statusCode, body } = await pool.request({ method: 'GET', path: '/' })
    await body.arrayBuffer()
    return statusCode
  }
  try {
    return await load(ask, perSecond, seconds)
  } finally {
    await pool.close()
  }
}

function throughLinks({ machine, port, perSecond, seconds }: Job & { do: 'links' }): Promise<Outcome> {
  const ask = async (index: number): Promise<number> => {
    const link = links[index % links.length]!
    return (await link.forwardRequest({ machine, port, path: '/' })).status
  }
  return load(ask, perSecond, seconds)
}

async function perform(job: Job): Promise<Outcome | undefined> {
  if (job.do === 'connect') await connect(job)
  return job.do === 'direct' ? direct(job) : job.do === 'links' ? throughLinks(job) : undefined
}

let done = 0
for await (const line of createInterface({ input: process.stdin })) {
  const outcome = await perform(JSON.parse(line) as Job)
  console.log(`job ${++done}: ${JSON.stringify(outcome ?? {})}`)
}
await Promise.all(links.map((link) => link.disconnect(0)))
