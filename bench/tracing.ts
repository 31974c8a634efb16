import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Scope } from '../test/support/scope.ts'
import { MACHINE, startTopology, type TopologyOptions } from '../test/support/topology.ts'
import { type BesideOptions, measureBeside, type Side } from './beside.ts'
import { NO_RATE_LIMIT, startLoad, startWeb } from './measure.ts'
import type { CaseReport } from './report.ts'

export interface TracingBenchOptions extends BesideOptions {
  requests: number
  connections: number
}

const NO_TRACING = fileURLToPath(new URL('no-tracing.mjs', import.meta.url))
/** As OPERATIONS.md has it for a proxy with much to do. */
const RATIO = 0.01

/** Small requests through a proxy without the plugin for traces, one that traces nothing, and one that traces. */
export async function measureTracing(scope: Scope, options: TracingBenchOptions): Promise<CaseReport[]> {
  const webPort = await startWeb(scope)
  const traced = [`tracing.exporter=otlp`, `tracing.url=${await startSink(scope)}`, `tracing.ratio=${RATIO}`]
  const sides: Side[] = []
  for (const [name, more] of [
    ['tracing absent', { plugins: [NO_TRACING] }],
    ['tracing off', {}],
    [`tracing ${RATIO}`, { set: traced }],
  ] as const)
    sides.push(await startSide(scope, name, webPort, more, options))
  return measureBeside(sides, options)
}

async function startSide(
  scope: Scope,
  name: string,
  webPort: number,
  { set = [], ...more }: TopologyOptions,
  { requests, connections }: TracingBenchOptions,
): Promise<Side> {
  const topology = await startTopology(scope, {
    ...more,
    inspected: true,
    allow: [`127.0.0.1:${webPort}`],
    set: [NO_RATE_LIMIT, ...set],
  })
  const { url, token, proxy } = topology
  const load = startLoad(scope, topology.env)
  const tunnel = { url, token, machine: MACHINE, port: webPort, transport: 'websocket' } as const
  const small = { kind: 'small', route: { tunnel }, requests, connections } as const
  return { name, load, parties: { proxy: proxy.pid }, jobs: { small } }
}

/** A collector that takes everything and looks at nothing. */
async function startSink(scope: Scope): Promise<string> {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`
}
