// `npm run bench`: bulk and small requests through the sealed and the inspected path, against `ssh -L` in the same run.
import { parseArgs } from 'node:util'
import { Cleanup } from '../test/support/scope.ts'
import { requireSystem } from '../test/support/system.ts'
import { measureDurable, renderDurable } from './durable.ts'
import { type BenchOptions, runBench } from './measure.ts'
import { render, renderCases } from './report.ts'
import { isTooFar, measureStartup, renderStartup } from './startup.ts'
import { measureTracing } from './tracing.ts'
import { measureWorkers } from './workers.ts'

const HELP = `Usage: npm run bench -- [options]

Options:
  --mib <n>          size of a bulk transfer (default: 256)
  --requests <n>     small requests in a run (default: 10000)
  --connections <n>  at once (default: 32)
  --rounds <n>       interleaved; medians are printed; 0: none of these (default: 5)
  --starts <n>       starts of ssh, each way, with and without a delay; 0: none (default: 7)
  --durable <n>      requests accepted on disk, beside LevelDB alone; 0: none (default: 4000)
  --round-trip <ms>  of the delay (default: 200)
  --workers <n>      also: so many workers beside one process (needs Redis); 0: not (default: 0)
  --clients <n>      for that, each with a link of its own (default: 8)
  --tracing <n>      rounds of small requests without the plugin for traces, with it off, and with it on; 0: none (default: 5)
  --only <part>      of the first kind the cases whose names hold this, and what they are compared with
  --profile <name>   configuration profile of all parties
  --json             the whole report as JSON
`

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '256' },
    requests: { type: 'string', default: '10000' },
    connections: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '5' },
    starts: { type: 'string', default: '7' },
    durable: { type: 'string', default: '4000' },
    'round-trip': { type: 'string', default: '200' },
    workers: { type: 'string', default: '0' },
    clients: { type: 'string', default: '8' },
    tracing: { type: 'string', default: '5' },
    only: { type: 'string' },
    profile: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

function bulkOptions(): Omit<BenchOptions, 'rounds'> {
  return {
    byteCount: Number(values.mib) * 1_048_576,
    requests: Number(values.requests),
    connections: Number(values.connections),
    ...(values.profile !== undefined && { profile: values.profile }),
    ...(values.only !== undefined && { only: values.only }),
    progress: (text) => {
      if (process.stderr.isTTY) process.stderr.write(`${text}\n`)
    },
  }
}

async function main(): Promise<void> {
  const count = Number(values.workers)
  const missing = requireSystem('sshd', 'ssh') ?? (count === 0 ? undefined : requireSystem('redis-server'))
  if (missing !== undefined) throw new Error(`${missing}; run node scripts/install-test-packages.mjs`)
  const cleanup = new Cleanup()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void cleanup.close().finally(() => process.exit(130)))
  }
  try {
    const rounds = Number(values.rounds)
    const report = rounds === 0 ? undefined : await runBench(cleanup, { ...bulkOptions(), rounds })
    const starts = Number(values.starts)
    const roundTripMs = Number(values['round-trip'])
    const startup = starts === 0 ? undefined : await measureStartup(cleanup, { rounds: starts, roundTripMs })
    const accepting = { rounds: 5, requests: Number(values.durable), concurrency: 16 }
    const durable = accepting.requests === 0 ? undefined : await measureDurable(cleanup, accepting)
    const beside = { workers: count, clients: Number(values.clients), rounds: 5 }
    const workers = count === 0 ? undefined : await measureWorkers(cleanup, { ...bulkOptions(), ...beside })
    if (startup !== undefined && isTooFar(startup)) process.exitCode = 1
    const tracingRounds = Number(values.tracing)
    const traced = { ...bulkOptions(), rounds: tracingRounds }
    const tracing = tracingRounds === 0 ? undefined : await measureTracing(cleanup, traced)
    const reports = { ...report, startup, durable, workers, tracing }
    if (values.json) return console.log(JSON.stringify(reports, null, 2))
    if (report !== undefined) console.log(render(report))
    if (startup !== undefined) console.log(renderStartup(startup))
    if (durable !== undefined) console.log(renderDurable(durable, accepting))
    for (const beside of [workers, tracing])
      if (beside !== undefined) console.log(renderCases(beside).join('\n'))
  } finally {
    await cleanup.close()
  }
}

if (values.help) process.stdout.write(HELP)
else await main()
