// Every program of the matrix under every fault, printed as a table.
import { parseArgs } from 'node:util'
import { simulate } from '../simulation/simulation.ts'
import { Cleanup } from '../support/scope.ts'
import { requireSystem } from '../support/system.ts'
import { type CellResult, runCell } from './cell.ts'
import { FAULTS, type Fault } from './faults.ts'
import { runHerd } from './herd.ts'
import { whyNoNamespaces } from './netns.ts'
import { type ChaosProgram, PROGRAMS } from './programs/index.ts'

const MIB = 1_048_576
const HELP = `Usage: npm run chaos -- [options]
       npm run chaos -- cluster [day] [options]

Stock SSH programs through the tunnel, while its network fails.

Options:
  --programs <names>   of ${PROGRAMS.map((program) => program.name).join(',')} (default: all; none: '')
  --faults <names>     of ${FAULTS.map((fault) => fault.name).join(',')} (default: all)
  --mib <n>            MiB to move in each direction (default: 256)
  --seed <n>           of the data, of the moments of the faults, and of the first schedule (default: 1)
  --profile <name>     configuration profile of all parties (default: unstable-network)
  --timeout <seconds>  for one run of a program (default: 900)
  --herd <n>           links that are cut all at once, at the end (default: 1000; 0: none)
  --schedules <n>      random schedules of faults in memory, of seeds from --seed on, last (default: 10000; 0: none),
                       for proxies that know nothing of each other, and as many for replicas
  --short              few faults, as in npm test
  --json               one JSON object a row

The columns proxy and agent are the most memory that each has had, in MiB.

Faults:
${FAULTS.map((fault) => `  ${fault.name.padEnd(14)} ${fault.does}`).join('\n')}
`

const { values } = parseArgs({
  options: {
    programs: { type: 'string' },
    faults: { type: 'string' },
    mib: { type: 'string', default: '256' },
    seed: { type: 'string', default: '1' },
    profile: { type: 'string', default: 'unstable-network' },
    timeout: { type: 'string', default: '900' },
    herd: { type: 'string', default: '1000' },
    schedules: { type: 'string', default: '10000' },
    short: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

function chosen<T extends { name: string }>(all: readonly T[], names: string | undefined): readonly T[] {
  if (names === undefined) return all
  if (names === '') return []
  return names.split(',').map((name) => {
    const found = all.find((each) => each.name === name)
    if (!found) throw new Error(`there is no "${name}"; there are ${all.map((each) => each.name).join(', ')}`)
    return found
  })
}

const COLUMNS = [
  ['program', 10],
  ['fault', 13],
  ['faults', 7],
  ['rounds', 7],
  ['MiB', 8],
  ['checksum', 9],
  ['exit', 5],
  ['stall ms', 9],
  ['proxy', 6],
  ['agent', 6],
  ['seconds', 8],
] as const

function line(cells: readonly (string | number | null)[]): string {
  return cells.map((cell, index) => String(cell).padEnd(COLUMNS[index]?.[1] ?? 0)).join(' ')
}

function show(result: CellResult): void {
  if (values.json) {
    console.log(JSON.stringify(result))
    return
  }
  const mib = (result.byteCount / MIB).toFixed(1)
  const checksum = result.checksumOk ? 'equal' : 'DIFFERS'
  const { proxy, agent } = result.peakResidentBytes
  const memory = [proxy, agent].map((bytes) => Math.round(bytes / MIB))
  const counts = [
    result.hits,
    result.rounds,
    mib,
    checksum,
    result.exitStatus,
    result.longestStallMs,
    ...memory,
  ]
  const cells = line([result.program, result.fault, ...counts, result.seconds.toFixed(1)])
  const { count, p50, p95 } = result.recoveryMs
  if (count > 0)
    console.error(`moving again after ${count} cuts: p50 ${p50?.toFixed(0)} ms, p95 ${p95?.toFixed(0)} ms`)
  console.log(result.ok ? cells : `${cells} FAILED: ${result.detail}\n${result.logs ?? ''}`)
}

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())

async function cell(program: ChaosProgram, fault: Fault): Promise<boolean> {
  const result = await runCell({
    program,
    fault,
    byteCount: Number(values.mib) * MIB,
    seed: Number(values.seed),
    short: values.short,
    profile: values.profile,
    timeoutMs: Number(values.timeout) * 1_000,
    signal: interrupted.signal,
  })
  show(result)
  return result.ok
}

async function herd(clients: number): Promise<boolean> {
  const cleanup = new Cleanup()
  try {
    const result = await runHerd(cleanup, clients, values.profile)
    const times = [result.p50Ms, result.p95Ms, result.slowestMs].map((ms) => ms.toFixed(0))
    const memory = [result.residentBefore, result.residentAfter].map((bytes) => Math.round(bytes / MIB))
    const live = [result.liveBefore, result.liveAfter].map((bytes) => (bytes / MIB).toFixed(1))
    const text = `${clients} links cut at once: ${result.intact} streams intact; moving again after p50 ${times[0]} ms, p95 ${times[1]} ms, slowest ${times[2]} ms; memory of the proxy ${memory[0]} MiB before, ${memory[1]} MiB after, of which in use ${live[0]} and ${live[1]} MiB`
    console.log(
      values.json ? JSON.stringify(result) : `${text}${result.detail ? ` FAILED: ${result.detail}` : ''}`,
    )
    return result.ok
  } finally {
    await cleanup.close()
  }
}

/** Each in virtual time, over links in memory; one that fails is replayed with its seed and `--schedules 1`. */
async function schedules(count: number, firstSeed: number, isCluster: boolean): Promise<boolean> {
  const beganMs = performance.now()
  const of = isCluster ? 'of replicas' : 'of proxies'
  const totals = { streams: 0, bytes: 0, faults: 0, errors: 0, failed: 0 }
  for (let seed = firstSeed; seed < firstSeed + count && !interrupted.signal.aborted; seed++) {
    const outcome = await simulate(seed, isCluster)
    totals.streams += outcome.streams
    totals.bytes += outcome.bytes
    totals.faults += sum(outcome.faults)
    totals.errors += sum(outcome.errors)
    if (outcome.violations.length > 0) {
      totals.failed++
      console.log(`schedule ${seed} ${of} FAILED: ${outcome.violations.join('; ')}`)
    }
    if (process.stderr.isTTY && seed % 100 === 0) process.stderr.write(`\rschedule ${seed}`)
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  const { streams, bytes, faults, errors, failed } = totals
  const seconds = ((performance.now() - beganMs) / 1_000).toFixed(0)
  const text = `${count} schedules ${of}: ${faults} faults on ${streams} streams, ${(bytes / MIB).toFixed(0)} MiB compared, ${errors} ends of streams in an explained error, ${failed} schedules failed; ${seconds} s`
  console.log(values.json ? JSON.stringify({ schedules: count, isCluster, ...totals }) : text)
  return failed === 0
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}

async function main(): Promise<boolean> {
  const [programs, faults] = [chosen(PROGRAMS, values.programs), chosen(FAULTS, values.faults)]
  const noNamespaces = await whyNoNamespaces()
  const noSshd = requireSystem('sshd', 'ssh')
  if (noSshd !== undefined) throw new Error(`${noSshd}; run node scripts/install-test-packages.mjs`)
  if (!values.json) console.log(line(COLUMNS.map(([title]) => title)))
  let ok = true
  for (const fault of faults) {
    for (const program of programs) {
      const skipped = requireSystem(...program.needs) ?? (fault.inNamespace ? noNamespaces : undefined)
      if (interrupted.signal.aborted) return false
      if (skipped !== undefined) console.error(line([program.name, fault.name, `skipped: ${skipped}`]))
      else ok = (await cell(program, fault)) && ok
    }
  }
  if (Number(values.herd) > 0 && !interrupted.signal.aborted) ok = (await herd(Number(values.herd))) && ok
  for (const isCluster of [false, true])
    if (Number(values.schedules) > 0 && !interrupted.signal.aborted)
      ok = (await schedules(Number(values.schedules), Number(values.seed), isCluster)) && ok
  return ok
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = (await main()) ? 0 : 1
