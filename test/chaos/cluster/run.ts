// `npm run chaos -- cluster`: what may happen to replicas, under stock SSH programs, as a table.
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { startRoundRobin } from './balancer.ts'
import { CLUSTER_FAULTS, type ClusterFault, QUIET, ROLL } from './faults.ts'
import { type ClusterRow, clusterRows } from './rows.ts'
import { runStorm } from './storm.ts'

const MIB = 1_048_576
/** So many sessions leave a core idle for most of the time. */
const SSH_PER_CORE = 10
const HELP = `Usage: npm run chaos -- cluster [options]

Three replicas behind a balancer that knows nothing of them, with Redis, an agent, an sshd, and stock ssh, scp and rsync.

Options:
  --faults <names>     of ${CLUSTER_FAULTS.map(({ name }) => name).join(',')} (default: all; none: '')
  --times <n>          of each fault (default: its own number)
  --ssh <n>            sessions that are typed into all the time (default: 100)
  --scp <n>            copies that run at once (default: 20)
  --rsync <n>          the same (default: 20)
  --gap <ms>           between two lines that are typed into one ssh (default: 200)
  --mib <n>            of one copy, there and back (default: 8)
  --speed <KiB/s>      of one copy (default: 128)
  --seed <n>           of the data and of the choice of replicas (default: 1)
  --set <a.b=v>        a setting of every replica; may be repeated
  --crowd <n>          agents that lose their links to two replicas at once, at the end (default: 5000; 0: none)
  --logs <folder>      for what each replica has written
  --json               one JSON object a row

For each ssh and each time a fault came, the longest time that a line took to come back is one gap. The exit status is 1
if a session or a new stream failed, or if a row passed the bounds of docs/CLUSTER.md by more than what the row "quiet"
took; such bounds are named below their row. Where --ssh is more than ten a core, quiet and roll are done with ten a
core first: more keep a small computer busy by themselves.

Faults:
${CLUSTER_FAULTS.map(({ name, does }) => `  ${name.padEnd(14)} ${does}`).join('\n')}
`

const { values } = parseArgs({
  options: {
    faults: { type: 'string' },
    times: { type: 'string' },
    ssh: { type: 'string', default: '100' },
    scp: { type: 'string', default: '20' },
    rsync: { type: 'string', default: '20' },
    gap: { type: 'string', default: '200' },
    mib: { type: 'string', default: '8' },
    speed: { type: 'string', default: '128' },
    seed: { type: 'string', default: '1' },
    set: { type: 'string', multiple: true, default: [] },
    crowd: { type: 'string', default: '5000' },
    logs: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

const COLUMNS = [
  ['fault', 13],
  ['times', 6],
  ['sessions', 9],
  ['broken', 7],
  ['p50 ms', 7],
  ['p95', 6],
  ['p99', 6],
  ['max', 6],
  ['copies equal', 13],
  ['opens', 6],
  ['failed', 7],
  ['slowest ms', 11],
  ['seconds', 8],
] as const

function line(cells: readonly (string | number)[]): string {
  return cells.map((cell, index) => String(cell).padEnd(COLUMNS[index]?.[1] ?? 0)).join(' ')
}

function show(row: ClusterRow): void {
  if (values.json) return console.log(JSON.stringify(row))
  const { p50, p95, p99, max } = row.gapMs
  const gaps = [p50, p95, p99, max].map(Math.round)
  const counts = [row.equal, row.opens, row.failedOpens, Math.round(row.slowestOpenMs), row.seconds]
  console.log(line([row.fault, row.times, row.sessions, row.broken, ...gaps, ...counts]))
  for (const text of [...row.faults, ...row.beyond]) console.log(`  ${text}`)
}

/** Promise 8 of the design: within this all are back, and the echo of a stream is at most so much slower. */
const ALL_BACK_MS = 15_000
const ECHO_FACTOR = 2

async function storm(agents: number): Promise<boolean> {
  const cleanup = new Cleanup()
  try {
    const report = await runStorm(cleanup, agents, progress)
    const { links, backMs, echoMs, lagMs, cpuMsPerLink } = report
    const seconds = [backMs.p50, backMs.p95, backMs.max].map((ms) => (ms / 1_000).toFixed(1))
    const echoes = [echoMs.before, echoMs.during].map((times) =>
      [times.p50, times.p95, times.max].map((ms) => ms.toFixed(1)).join(' / '),
    )
    const text = `${links} links cut at once: back after p50 ${seconds[0]} s, p95 ${seconds[1]} s, all ${seconds[2]} s; echo of a stream p50 / p95 / max ${echoes[0]} ms before, ${echoes[1]} ms meanwhile; a replica's event loop late by ${lagMs.toFixed(1)} ms on average of a second at most; a link's return took ${cpuMsPerLink.toFixed(2)} ms of the replicas' CPU`
    console.log(values.json ? JSON.stringify(report) : text)
    return backMs.max <= ALL_BACK_MS && echoMs.during.p95 <= ECHO_FACTOR * echoMs.before.p95
  } finally {
    await cleanup.close()
  }
}

function progress(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 23)} ${text}\n`)
}

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())

interface Sessions {
  ssh: number
  scp: number
  rsync: number
}

async function table(faults: readonly ClusterFault[], sessions: Sessions): Promise<boolean> {
  const cleanup = new Cleanup()
  let isKept = true
  try {
    const rows = clusterRows(cleanup, {
      faults,
      times: values.times === undefined ? undefined : Number(values.times),
      short: false,
      random: Number(values.seed),
      balancer: await startRoundRobin(cleanup),
      set: values.set,
      logs: values.logs,
      ...sessions,
      gapMs: Number(values.gap),
      copyBytes: Number(values.mib) * MIB,
      bytesPerSecond: Number(values.speed) * 1_024,
      openEveryMs: 500,
      seed: values.seed,
      signal: interrupted.signal,
      progress,
    })
    if (!values.json) console.log(line(COLUMNS.map(([title]) => title)))
    for await (const row of rows) {
      show(row)
      isKept &&= row.broken + row.failedOpens + row.beyond.length === 0
    }
  } finally {
    await cleanup.close()
  }
  return isKept
}

async function main(): Promise<boolean> {
  const missing = requireSystem('sshd', 'ssh', 'scp', 'rsync', 'redis-server')
  if (missing !== undefined) throw new Error(`${missing}; run node scripts/install-test-packages.mjs`)
  const names = values.faults === '' ? [] : values.faults?.split(',')
  const unknown = names?.find((name) => !CLUSTER_FAULTS.some((fault) => fault.name === name))
  if (unknown !== undefined) throw new Error(`there is no "${unknown}"`)
  const faults = CLUSTER_FAULTS.filter(({ name }) => names?.includes(name) ?? true)
  const sessions = { ssh: Number(values.ssh), scp: Number(values.scp), rsync: Number(values.rsync) }
  const cores = availableParallelism()
  const few = { ssh: SSH_PER_CORE * cores, scp: cores, rsync: cores }
  let isKept = true
  if (faults.includes(ROLL) && sessions.ssh > few.ssh) isKept = await table([QUIET, ROLL], few)
  if (faults.length > 0 && !interrupted.signal.aborted) isKept = (await table(faults, sessions)) && isKept
  const crowd = Number(values.crowd)
  if (crowd > 0 && !interrupted.signal.aborted) isKept = (await storm(crowd)) && isKept
  return isKept && !interrupted.signal.aborted
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = (await main()) ? 0 : 1
