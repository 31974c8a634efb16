// The load generator, in a process of its own so that its CPU can be told apart: takes jobs over IPC, one at a time.
import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import { type buildConnector, Pool } from 'undici'
import { TunnelService } from '../client/index.ts'
import { percentile } from '../test/support/percentile.ts'

/** How requests reach the web service: an address (the near end of `ssh -L`), or the client library. */
export type Route = { origin: string } | { tunnel: TunnelRoute } | { sealed: SealedRoute }

export interface TunnelRoute {
  url: string
  token: string
  machine: string
  port: number
  transport: 'websocket' | 'http'
}

/** HTTP over sealed streams. */
export interface SealedRoute extends Omit<TunnelRoute, 'transport'> {
  /** Each has a link of its own; streams go over them in turn. */
  clients: number
}

export type Job =
  /** So many answers at once, each of so many bytes. */
  | { kind: 'bulk'; route: Route; byteCount: number; answers?: number }
  | { kind: 'small'; route: Route; requests: number; connections: number }
  /** A program whose stdout is counted from its first byte on. */
  | { kind: 'program'; command: string; args: string[] }

export interface Outcome {
  seconds: number
  byteCount: number
  requests: number
  /** Answers that were not a complete 200. */
  failures: number
  /** Of requests, in ms. */
  p50Ms: number
  p99Ms: number
}

interface Requester {
  /** Bytes of the answer's body; rejects unless it was a complete 200. */
  get(path: string): Promise<number>
  close(): Promise<void>
}

async function byAddress(
  origin: string,
  connections: number,
  connect?: buildConnector.connector,
): Promise<Requester> {
  const options = { connections, pipelining: 1, bodyTimeout: 0, headersTimeout: 0 }
  const pool = new Pool(origin, { ...options, ...(connect !== undefined && { connect }) })
  return {
    async get(path) {
      const { statusCode, body } = await pool.request({ method: 'GET', path })
      let byteCount = 0
      for await (const chunk of body) byteCount += (chunk as Buffer).length
      if (statusCode !== 200) throw new Error(`status ${statusCode}`)
      return byteCount
    },
    close: () => pool.close(),
  }
}

async function byTunnel(route: TunnelRoute): Promise<Requester> {
  const { url, token, transport } = route
  const tunnel = new TunnelService({ url, token, settings: { network: { transport } } })
  await tunnel.connect()
  return {
    async get(path) {
      // As whole as undici's, which it is compared with, where it is small; a large one streams.
      if (!path.startsWith('/bytes/')) {
        const { status, body } = await tunnel.forwardRequest({
          machine: route.machine,
          port: route.port,
          path,
        })
        if (status !== 200) throw new Error(`status ${status}`)
        return body.length
      }
      const response = await tunnel.fetch(`http://${route.machine}:${route.port}${path}`)
      let byteCount = 0
      for await (const chunk of response.body ?? []) byteCount += chunk.length
      if (response.status !== 200) throw new Error(`status ${response.status}`)
      return byteCount
    },
    close: () => tunnel.disconnect(),
  }
}

async function bySealed(
  { url, token, machine, port, clients }: SealedRoute,
  connections: number,
): Promise<Requester> {
  const tunnels = Array.from({ length: clients }, () => new TunnelService({ url, token }))
  await Promise.all(tunnels.map((tunnel) => tunnel.connect()))
  const target = `127.0.0.1:${port}`
  let opened = 0
  const connect: buildConnector.connector = (_, callback) => {
    const tunnel = tunnels[opened++ % tunnels.length]!
    tunnel.open({ machine, kind: 'ssh', target }).then(
      // It asks no more of a socket than a stream has.
      (stream) => callback(null, stream as unknown as Socket),
      (error: Error) => callback(error, null),
    )
  }
  const { get, close } = await byAddress(`http://${target}`, connections, connect)
  return {
    get,
    async close() {
      await close()
      await Promise.all(tunnels.map((tunnel) => tunnel.disconnect(0)))
    },
  }
}

/** Kept from job to job: what is measured is the path, not its setting up. */
const requesters = new Map<string, Promise<Requester>>()

function requester(route: Route, connections: number): Promise<Requester> {
  const key = JSON.stringify([route, connections])
  const made = requesters.get(key) ?? makeRequester(route, connections)
  requesters.set(key, made)
  return made
}

function makeRequester(route: Route, connections: number): Promise<Requester> {
  if ('origin' in route) return byAddress(route.origin, connections)
  return 'sealed' in route ? bySealed(route.sealed, connections) : byTunnel(route.tunnel)
}

async function request(route: Route, path: string, requests: number, connections: number): Promise<Outcome> {
  const { get } = await requester(route, connections)
  const latencies: number[] = []
  let left = requests
  let byteCount = 0
  const worker = async () => {
    while (left-- > 0) {
      const beganMs = performance.now()
      try {
        const answerBytes = await get(path)
        byteCount += answerBytes
        latencies.push(performance.now() - beganMs)
      } catch (error) {
        console.error(error)
      }
    }
  }
  const beganMs = performance.now()
  await Promise.all(Array.from({ length: connections }, worker))
  const seconds = (performance.now() - beganMs) / 1_000
  const [p50Ms, p99Ms] = [percentile(latencies, 0.5), percentile(latencies, 0.99)]
  return { seconds, byteCount, requests, failures: requests - latencies.length, p50Ms, p99Ms }
}

function runProgram(command: string, args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let byteCount = 0
    let beganMs = 0
    child.stdout.on('data', (chunk: Buffer) => {
      if (beganMs === 0) beganMs = performance.now()
      byteCount += chunk.length
    })
    child.on('close', (status) => {
      const seconds = (performance.now() - beganMs) / 1_000
      resolve({ seconds, byteCount, requests: 1, failures: status === 0 ? 0 : 1, p50Ms: 0, p99Ms: 0 })
    })
  })
}

function execute(job: Job): Promise<Outcome> {
  if (job.kind === 'program') return runProgram(job.command, job.args)
  if (job.kind === 'bulk') {
    const { route, byteCount, answers = 1 } = job
    return request(route, `/bytes/${byteCount}`, answers, answers)
  }
  return request(job.route, '/', job.requests, job.connections)
}

process.on('message', async (job: Job) => {
  const outcome = await execute(job).catch((error) => ({ error: String(error) }))
  process.send?.(outcome)
})
process.on('disconnect', () => process.exit(0))
