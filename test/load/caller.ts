// A process of its own, so that the proxy's memory and CPU can be told from its callers': a line of JSON on stdin is a job,
// and its outcome is a line on stdout.
import { createInterface } from 'node:readline'
import { Pool } from 'undici'
import { TunnelService } from '../../client/index.ts'
import type { Job } from './load.ts'
import { type Outcome, steadily } from './steady.ts'

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

async function direct({ port, perSecond, seconds }: Job & { do: 'direct' }): Promise<Outcome> {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 64, pipelining: 1 })
  const ask = async (): Promise<number> => {
    const { statusCode, body } = await pool.request({ method: 'GET', path: '/' })
    await body.arrayBuffer()
    return statusCode
  }
  try {
    return await steadily(ask, perSecond, seconds)
  } finally {
    await pool.close()
  }
}

function throughLinks({ machine, port, perSecond, seconds }: Job & { do: 'links' }): Promise<Outcome> {
  const ask = async (index: number): Promise<number> => {
    const link = links[index % links.length]!
    return (await link.forwardRequest({ machine, port, path: '/' })).status
  }
  return steadily(ask, perSecond, seconds)
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
