// Many agents in one process, each no more than its links: `crowd.ts` starts it and says what to do.
import { randomBytes } from 'node:crypto'
import { resolveSettings } from '../../../client/settings.ts'
import { addressesOf } from '../../../dial/addresses.ts'
import { Connection } from '../../../dial/connection.ts'
import { dialProxy } from '../../../dial/dial-proxy.ts'
import { systemClock } from '../../../protocol/clock.ts'
import { PROTOCOL_VERSION } from '../../../protocol/codec/hello.ts'
import type { Transport } from '../../../protocol/link/transport.ts'
import type { CrowdOrder, CrowdReport } from './crowd.ts'

/** Dials at once while they come for the first time: nothing is measured then. */
const FIRST_AT_ONCE = 50

const settings = resolveSettings({}, 'default')
const transports = new Set<Transport>()
const connections: Connection[] = []
let cutAtMs = 0
let backMs: number[] = []

function connection(url: string, { token }: CrowdOrder, machine: string, instance: string): Connection {
  const { heartbeat, limits, streams } = settings
  const made = new Connection({
    urls: [url],
    token: async () => token,
    hello: () => ({
      ...{
        role: 'agent',
        version: PROTOCOL_VERSION,
        software: 'crowd',
        machine,
        instance,
        epoch: 1,
        heartbeat,
      },
      limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: streams.maxPerLink },
      resumeMs: streams.resumeMs,
      enrol: { hostKeys: [], sshUser: 'nobody' },
    }),
    dial: async (...how) => {
      const transport = await dialProxy(...how)
      transports.add(transport)
      return transport
    },
    clock: systemClock,
    backoff: { ...settings.backoff, maxAttempts: 1_000_000 },
    provenMs: settings.heartbeat.intervalMs,
    random: Math.random,
    accept: { open: () => {}, resume: () => {} },
  })
  made.on('link', () => {
    if (cutAtMs > 0) backMs.push(performance.now() - cutAtMs)
  })
  return made
}

async function join(order: CrowdOrder): Promise<void> {
  const wanted: Connection[] = []
  for (let number = 0; number < order.agents; number++) {
    const instance = randomBytes(16).toString('hex')
    const machine = `crowd-${order.first + number}`
    for (const { link } of addressesOf(order.urls, 'agent'))
      wanted.push(connection(link, order, machine, instance))
  }
  connections.push(...wanted)
  const next = async (): Promise<void> => {
    for (let one = wanted.pop(); one !== undefined; one = wanted.pop()) await one.connect(true)
  }
  await Promise.all(Array.from({ length: FIRST_AT_ONCE }, next))
}

function tell(report: CrowdReport): void {
  process.send?.(report)
}

process.on('message', async (order: CrowdOrder | 'cut' | 'report') => {
  if (order === 'cut') {
    const cut = [...transports]
    transports.clear()
    backMs = []
    cutAtMs = performance.now()
    for (const transport of cut) transport.terminate()
  } else if (order === 'report')
    tell({ links: connections.filter(({ link }) => link !== undefined).length, backMs })
  else {
    await join(order)
    tell({ links: connections.length, backMs: [] })
  }
})
process.on('disconnect', () => process.exit(0))
tell({ links: 0, backMs: [] })
