import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { FaultRelay } from '../chaos/fault-relay.ts'
import { mustRun, run } from '../support/process.ts'
import { seededFile } from '../support/random.ts'
import type { Scope } from '../support/scope.ts'
import { sshOptions } from '../support/sshd.ts'
import { startTopology, type Topology, TUNNEL_CLI } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'

export type Way = 'up' | 'down'

/** A machine, a way to it with a relay in it, and a file on this side. */
export interface CopyGround {
  topology: Topology
  relay: FaultRelay
  folder: string
  source: string
  sha256: string
  byteCount: number
}

export async function copyGround(scope: Scope, byteCount: number, seed = 1): Promise<CopyGround> {
  const topology = await startTopology(scope, { profile: 'unstable-network', relays: true, inspected: true })
  const relay = topology.clientRelay
  if (relay === undefined) throw new Error('the topology has no relay')
  const folder = await tempFolder(scope, 'copies')
  const source = join(folder, 'source')
  return { topology, relay, folder, source, byteCount, sha256: await seededFile(source, seed, byteCount) }
}

export interface CopyReport {
  seconds: number
  resumes: number
  /** `both sides`, where both have made the checksum. */
  checked: string
}

/** `tunnel cp` one way; the far side is a folder of this computer too. Throws where the copy is not the source. */
export async function tunnelCopy(
  { topology, folder, source, sha256 }: CopyGround,
  way: Way,
): Promise<CopyReport> {
  const target = join(folder, `tunnel-${way}`)
  const words = way === 'up' ? [source, `home:${target}`] : [`home:${source}`, target]
  const output = await mustRun(process.execPath, [TUNNEL_CLI, 'cp', '--json', ...words], {
    env: topology.env,
  })
  const events = output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  const told = (name: string): Record<string, unknown> => events.find(({ event }) => event === name) ?? {}
  const hash = createHash('sha256')
  await pipeline(createReadStream(target), hash)
  if (hash.digest('hex') !== sha256)
    throw new Error(`what arrived is not what was sent: ${output.slice(-500)}`)
  await rm(target)
  const { resumes, seconds } = told('done')
  return { seconds: Number(seconds), resumes: Number(resumes), checked: String(told('copied').checked) }
}

/** The same while the client's link is cut `cuts` times, each after an equal part of the bytes. */
export async function cutCopy(ground: CopyGround, way: Way, cuts: number): Promise<CopyReport> {
  const { relay, byteCount } = ground
  const partBytes = Math.floor(byteCount / (cuts + 1))
  let left = cuts
  let carriedBytes = 0
  const onBytes = (direction: Way, count: number): void => {
    if (direction !== way) return
    carriedBytes += count
    if (left === 0 || carriedBytes < partBytes) return
    left--
    carriedBytes = 0
    relay.cut()
  }
  relay.on('bytes', onBytes)
  try {
    return await tunnelCopy(ground, way)
  } finally {
    relay.off('bytes', onBytes)
  }
}

/** How long `scp` takes over the same way, sealed, in seconds. */
export async function scpCopy({ topology, folder, source }: CopyGround, way: Way): Promise<number> {
  const { sshd, proxyCommand, env } = topology
  const target = join(folder, `scp-${way}`)
  const words = way === 'up' ? [source, `home:${target}`] : [`home:${source}`, target]
  const beganMs = performance.now()
  const { code, stderr } = await run('scp', ['-q', ...sshOptions(sshd, { proxyCommand }), ...words], { env })
  if (code !== 0) throw new Error(`scp failed: ${stderr}`)
  await rm(target)
  return (performance.now() - beganMs) / 1_000
}
