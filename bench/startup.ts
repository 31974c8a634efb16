import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { FaultRelay } from '../test/chaos/fault-relay.ts'
import { Program } from '../test/support/process.ts'
import type { Scope } from '../test/support/scope.ts'
import { shellLine, sshOptions } from '../test/support/sshd.ts'
import { MACHINE, startTopology, TUNNEL_CLI } from '../test/support/topology.ts'
import { tempFolder } from '../test/support/tree.ts'
import { median } from './report.ts'

export interface StartupOptions {
  rounds: number
  /** Of the delaying relay, in ms. */
  roundTripMs: number
}

/** How long one way takes from `ssh` until a command's status is there. */
export interface StartupReport {
  name: 'direct' | 'bare Node' | 'cold' | 'warm'
  /** On loopback, in ms. */
  loopbackMs: number
  /** Without the handshake of TCP, which a relay in a process does not delay: one each, and none for warm. */
  roundTrips: number
}

/** The least that a ProxyCommand in Node can do: the floor of those that do more. */
const BARE =
  "const socket = require('net').connect(+process.argv[2], process.argv[1]); process.stdin.pipe(socket).pipe(process.stdout)"

/**
 * `ssh MACHINE true`: directly, through a Node that copies bytes, by a link of its own, and by the link that `tunnel up`
 * keeps; with and without a delay.
 */
export async function measureStartup(
  scope: Scope,
  { rounds, roundTripMs }: StartupOptions,
): Promise<StartupReport[]> {
  const topology = await startTopology(scope, { relays: true })
  const { sshd, clientRelay, proxyCommand } = topology
  const direct = await FaultRelay.listen(scope, { target: sshd })
  const folder = await tempFolder(scope, 'up')
  const env = { ...topology.env, XDG_RUNTIME_DIR: folder }
  const up = new Program(process.execPath, [TUNNEL_CLI, 'up', '--foreground'], { env })
  scope.after(() => up.stop())
  await up.line(/^up: /)
  // A folder without a socket is a link of its own.
  const cold = { ...env, XDG_RUNTIME_DIR: join(folder, 'none') }
  scope.after(() => rmSync(folder, { recursive: true, force: true }))
  const bare = shellLine([process.execPath, '-e', BARE, '127.0.0.1', String(direct.port)])
  const ways = {
    direct: { options: sshOptions({ ...sshd, port: direct.port }), env },
    'bare Node': { options: sshOptions(sshd, { proxyCommand: bare }), env },
    cold: { options: sshOptions(sshd, { proxyCommand }), env: cold },
    warm: { options: sshOptions(sshd, { proxyCommand }), env },
  }
  const start = async (name: keyof typeof ways): Promise<number> => {
    const { options, env: its } = ways[name]
    const startedMs = performance.now()
    // Its ProxyCommand ends a little later, and would hold an output open.
    const ssh = spawn('ssh', [...options, MACHINE, 'true'], { env: its, stdio: 'ignore' })
    const [code] = await once(ssh, 'exit')
    if (code !== 0) throw new Error(`${name}: ssh ended with ${code}`)
    return performance.now() - startedMs
  }
  const names = Object.keys(ways) as (keyof typeof ways)[]
  const times = async (): Promise<Record<string, number>> => {
    const taken = new Map<string, number[]>(names.map((name) => [name, []]))
    // Round by round, so that what else the computer does is all ways' alike.
    for (let round = 0; round < rounds; round++)
      for (const name of names) taken.get(name)!.push(await start(name))
    return Object.fromEntries([...taken].map(([name, all]) => [name, median(all)]))
  }
  const near = await times()
  for (const relay of [direct, clientRelay!]) relay.delay(roundTripMs / 2)
  const far = await times()
  return names.map((name) => ({
    name,
    loopbackMs: near[name]!,
    roundTrips: (far[name]! - near[name]!) / roundTripMs,
  }))
}

/** Round trips more than directly. */
const PROMISED: Partial<Record<StartupReport['name'], number>> = { cold: 3, warm: 1 }

/** Whether a way takes more round trips than are promised. */
export function isTooFar(reports: readonly StartupReport[]): boolean {
  const [direct] = reports as [StartupReport]
  return reports.some(({ name, roundTrips }) => {
    const promised = PROMISED[name] ?? Number.POSITIVE_INFINITY
    return Math.round(roundTrips - direct.roundTrips) > promised
  })
}

export function renderStartup(reports: readonly StartupReport[]): string {
  const [direct] = reports as [StartupReport]
  const lines = reports.map(({ name, loopbackMs, roundTrips }) => {
    const added =
      name === 'direct'
        ? ''
        : `  added: ${(roundTrips - direct.roundTrips).toFixed(1)} round trips, ${(loopbackMs - direct.loopbackMs).toFixed(0)} ms`
    return `${`ssh, ${name}`.padEnd(30)}${roundTrips.toFixed(1).padStart(15)}${loopbackMs.toFixed(0).padStart(15)}${added}`
  })
  return [
    '',
    `${'start'.padEnd(30)}${'round trips'.padStart(15)}${'ms on loopback'.padStart(15)}`,
    ...lines,
  ].join('\n')
}
