// `npm run chaos -- cluster`: what may happen to replicas, under stock SSH programs, as a table.
import { parseArgs } from 'node:util'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { RoundRobin } from './balancer.ts'
import { CLUSTER_FAULTS } from './faults.ts'
import { type ClusterRow, clusterRows } from './rows.ts'

const MIB = 1_048_576
const HELP = `Usage: npm run chaos -- cluster [options]

Three replicas behind a balancer that knows nothing of them, with Redis, an agent, an sshd, and stock ssh, scp and rsync.

Options:
  --faults <names>     of ${CLUSTER_FAULTS.map(({ name }) => name).join(',')} (default: all)
  --times <n>          of each fault (default: its own number)
  --ssh <n>            sessions that are typed into all the time (default: 100)
  --scp <n>            copies that run at once (default: 20)
  --rsync <n>          the same (default: 20)
  --gap <ms>           between two lines that are typed into one ssh (default: 200)
  --mib <n>            of one copy, there and back (default: 8)
  --speed <KiB/s>      of one copy (default: 128)
  --seed <n>           of the data and of the choice of replicas (default: 1)
  --set <a.b=v>        a setting of every replica; may be repeated
  --logs <folder>      for what each replica has written
  --json               one JSON object a row

For each ssh and each time a fault came, the longest time that a line took to come back is one gap.

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

async function main(): Promise<boolean> {
  const missing = requireSystem('sshd', 'ssh', 'scp', 'rsync', 'redis-server')
  if (missing !== undefined) throw new Error(`${missing}; run node scripts/install-test-packages.mjs`)
  const names = values.faults?.split(',')
  const unknown = names?.find((name) => !CLUSTER_FAULTS.some((fault) => fault.name === name))
  if (unknown !== undefined) throw new Error(`there is no "${unknown}"`)
  const cleanup = new Cleanup()
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  let isKept = true
  try {
    const rows = clusterRows(cleanup, {
      faults: CLUSTER_FAULTS.filter(({ name }) => names?.includes(name) ?? true),
      times: values.times === undefined ? undefined : Number(values.times),
      short: false,
      random: Number(values.seed),
      balancer: await RoundRobin.listen(cleanup),
      set: values.set,
      logs: values.logs,
      ...{ ssh: Number(values.ssh), scp: Number(values.scp), rsync: Number(values.rsync) },
      gapMs: Number(values.gap),
      copyBytes: Number(values.mib) * MIB,
      bytesPerSecond: Number(values.speed) * 1_024,
      openEveryMs: 500,
      seed: values.seed,
      signal: interrupted.signal,
      progress: (text) => process.stderr.write(`${new Date().toISOString().slice(11, 23)} ${text}\n`),
    })
    if (!values.json) console.log(line(COLUMNS.map(([title]) => title)))
    for await (const row of rows) {
      show(row)
      isKept &&= row.broken + row.failedOpens + row.beyond.length === 0
    }
  } finally {
    await cleanup.close()
  }
  return isKept && !interrupted.signal.aborted
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = (await main()) ? 0 : 1
