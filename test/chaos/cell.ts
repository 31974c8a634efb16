import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { peakResidentBytes } from '../support/proc.ts'
import { Cleanup, type Scope } from '../support/scope.ts'
import { startTopology, type Topology } from '../support/topology.ts'
import { tempFolder } from '../support/tree.ts'
import type { FaultRelay } from './fault-relay.ts'
import type { Fault } from './faults.ts'
import { NetworkNamespace } from './netns.ts'
import type { ChaosProgram, ProgramResult } from './programs/index.ts'
import { RecoveryTimes } from './recovery.ts'
import { StallWatch } from './stall-watch.ts'

export interface CellOptions {
  program: ChaosProgram
  fault: Fault
  /** In each direction. */
  byteCount: number
  seed: number
  short: boolean
  profile: string
  /** Longest that one run of the program may take, in ms. */
  timeoutMs: number
  /** What it runs on, with relays and `watchSshd`. Default: one of its own, as the fault needs it. */
  topology?: Topology | undefined
  /** Ends everything. */
  signal?: AbortSignal
}

/** One row of the table. */
export interface CellResult {
  program: string
  fault: string
  /** Faults that hit an open connection. */
  hits: number
  rounds: number
  byteCount: number
  checksumOk: boolean
  exitStatus: number | null
  /** The longest time inside a session without a byte to or from the sshd, or to the program where it can tell, in ms. */
  longestStallMs: number
  /** From a cut to the first byte that was sent after it, for programs that can tell. */
  recoveryMs: { count: number; p50: number | undefined; p95: number | undefined }
  /** Logins that the sshd has seen, against sessions that were run: more would mean that one was started again. */
  logins: number
  sessions: number
  /** The most memory that each has had, in bytes; of the last proxy where it was killed. */
  peakResidentBytes: { proxy: number; agent: number }
  seconds: number
  ok: boolean
  /** What went wrong, and what the parties wrote meanwhile. */
  detail?: string
  logs?: string
}

/** A transfer is throttled to last this much longer than its faults should need. */
const HEADROOM = 1.3
/** Between two lines of a program that writes some, in ms. */
const GAP_MS = { full: 5, short: 20 }
/** A program that ends before its faults have hit is run again, at most this often. */
const MAX_ROUNDS = 20

interface Run extends CellOptions {
  topology: Topology
  clientRelay: FaultRelay
  agentRelay: FaultRelay
  sshdRelay: FaultRelay
  namespace: NetworkNamespace | undefined
  folder: string
}

/** Runs one program under one fault. */
export async function runCell(options: CellOptions): Promise<CellResult> {
  const scope = new Cleanup()
  try {
    return await measure(await prepare(scope, options))
  } finally {
    await scope.close()
  }
}

async function prepare(scope: Scope, options: CellOptions): Promise<Run> {
  const namespace = options.fault.inNamespace ? await NetworkNamespace.create(scope) : undefined
  const topology =
    options.topology ??
    (await startTopology(scope, {
      profile: options.profile,
      relays: true,
      watchSshd: true,
      ...(namespace && { clientHost: namespace.hostAddress }),
      ...(options.fault.twoProxies && { twoProxies: true }),
    }))
  const { clientRelay, agentRelay, sshdRelay } = topology
  if (!clientRelay || !agentRelay || !sshdRelay) throw new Error('a topology without its relays')
  const folder = await tempFolder(scope, 'chaos')
  return { ...options, topology, clientRelay, agentRelay, sshdRelay, namespace, folder }
}

async function measure(run: Run): Promise<CellResult> {
  const { program, fault, topology, clientRelay, sshdRelay, short } = run
  const wanted = short ? fault.wanted.short : fault.wanted.full
  for (const relay of topology.clientRelays)
    relay.throttle((2 * run.byteCount * 1_000) / (wanted * fault.meanMs * HEADROOM))
  const beganMs = performance.now()
  const injecting = new AbortController()
  const broken = new AbortController()
  let hits = 0
  let enough = () => {}
  const until = new Promise<void>((resolve) => {
    enough = resolve
  })
  const hit = () => {
    if (++hits === wanted) enough()
  }
  const recovery = new RecoveryTimes()
  clientRelay.on('cut', () => recovery.cut())
  // What the sshd sends may vanish into buffers for a while, so a program that can tell is asked as well.
  const arrivals = new StallWatch()
  let sessions = 0
  const [loginsBefore, streamsBefore] = [loginsAt(topology), streamsOpened(topology)]
  const connected = () => topology.clientRelays.some((relay) => relay.size > 0)
  const ready = () => sessions > 0 && connected() && streamsOpened(topology) - streamsBefore >= sessions
  const faults = fault
    .run({ ...run, wanted, signal: injecting.signal, ready, hit })
    .catch((error) => broken.abort(error))
  let longestStallMs = 0
  const session = async <T>(work: () => Promise<T>): Promise<T> => {
    sessions++
    sshdRelay.stall.start()
    arrivals.start()
    const result = await work()
    longestStallMs = Math.max(longestStallMs, sshdRelay.stall.longestMs(), arrivals.longestMs())
    return result
  }
  const results: ProgramResult[] = []
  do {
    const folder = join(run.folder, `round-${results.length + 1}`)
    await mkdir(folder)
    const signals = [AbortSignal.timeout(run.timeoutMs), broken.signal, ...(run.signal ? [run.signal] : [])]
    results.push(
      await program.run({
        sshd: topology.sshd,
        proxyCommand: topology.proxyCommand,
        wrap: run.namespace && ((command, args) => run.namespace!.wrap(command, args)),
        env: topology.env,
        folder,
        byteCount: run.byteCount,
        seed: `${run.seed} ${results.length}`,
        gapMs: short ? GAP_MS.short : GAP_MS.full,
        until,
        arrived(sentAtMs) {
          recovery.arrived(sentAtMs)
          arrivals.moved()
        },
        signal: AbortSignal.any(signals),
        session,
      }),
    )
  } while (hits < wanted && results.length < MAX_ROUNDS && results.every(isGood))
  injecting.abort()
  await faults

  const failed = results.find((result) => !isGood(result))
  const logins = loginsAt(topology) - loginsBefore
  const detail =
    (broken.signal.aborted ? `the fault itself failed: ${broken.signal.reason}` : failed?.detail) ??
    (hits < wanted ? `only ${hits} faults hit` : undefined) ??
    (logins === sessions ? undefined : `${logins} logins for ${sessions} sessions`)
  return {
    program: program.name,
    fault: fault.name,
    hits,
    rounds: results.length,
    byteCount: results.reduce((sum, result) => sum + result.byteCount, 0),
    checksumOk: results.every((result) => result.checksumOk),
    exitStatus: failed ? failed.exitStatus : 0,
    longestStallMs: Math.round(longestStallMs),
    recoveryMs: {
      count: recovery.count,
      p50: recovery.percentileMs(0.5),
      p95: recovery.percentileMs(0.95),
    },
    logins,
    sessions,
    peakResidentBytes: {
      proxy: peakResidentBytes(topology.proxy.pid),
      agent: peakResidentBytes(topology.agent.pid),
    },
    seconds: Math.round(performance.now() - beganMs) / 1_000,
    ok: failed === undefined && detail === undefined,
    ...(detail !== undefined && { detail, logs: topology.logs() }),
  }
}

function loginsAt({ sshd }: Topology): number {
  return sshd.stderr.match(/^Accepted publickey/gm)?.length ?? 0
}

/** How many streams the agent has opened; it says so of each with --verbose. */
function streamsOpened({ agent }: Topology): number {
  return agent.stdout.match(/^debug: a stream to \S+ begins/gm)?.length ?? 0
}

function isGood(result: ProgramResult): boolean {
  return result.checksumOk && result.exitStatus === 0
}
