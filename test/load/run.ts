// `npm run load`: many links, and requests through them at a steady rate, beside the same requests without a proxy.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { runLoad } from './load.ts'
import type { Outcome } from './steady.ts'

/** V8 compiles what runs often within the first seconds under load. */
const WARM_UP_SECONDS = 10

const HELP = `Usage: npm run load -- [options]

Options:
  --links <n>       (default: 1000)
  --per-second <n>  requests, over all links in turn (default: 1000)
  --seconds <n>     (default: 60), after ${WARM_UP_SECONDS} s at the same rate that are not counted

Aims, on two cores that do nothing else: no error, which is also the exit status; p95 less than 10 ms above that of
direct requests; less than 100 MB for 1,000 links.
`

const { values } = parseArgs({
  options: {
    links: { type: 'string', default: '1000' },
    'per-second': { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '60' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

function row(...cells: (string | number)[]): void {
  const texts = cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(1) : cell))
  console.log(texts.map((text, index) => (index === 0 ? text.padEnd(24) : text.padStart(12))).join(''))
}

function rowOf(name: string, { requests, errors, p50Ms, p95Ms, p99Ms }: Outcome): void {
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0)
  row(name, String(requests), String(failed), p50Ms, p95Ms, p99Ms)
}

const scope = new Cleanup()
try {
  const links = Number(values.links)
  const perSecond = Number(values['per-second'])
  const options = { links, perSecond, seconds: Number(values.seconds), warmUpSeconds: WARM_UP_SECONDS }
  const report = await runLoad(scope, options)
  row('', 'requests', 'errors', 'p50 ms', 'p95 ms', 'p99 ms')
  rowOf('direct', report.direct)
  rowOf(`over ${links} links`, report.links)
  row(
    'overhead',
    '',
    '',
    ...(['p50Ms', 'p95Ms', 'p99Ms'] as const).map((at) => report.links[at] - report.direct[at]),
  )
  const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`
  console.log(`the proxy used ${report.cores.toFixed(2)} cores`)
  console.log(
    `${links - 1} links at rest: ${mb(report.liveBytes)} live, ${(report.liveBytes / (links - 1) / 1_024).toFixed(1)} KiB each; the process has grown by ${mb(report.residentBytes)}`,
  )
  const errors = { ...report.direct.errors, ...report.links.errors }
  if (Object.keys(errors).length > 0) {
    console.log(`errors: ${JSON.stringify(errors)}`)
    process.exitCode = 1
  }
} finally {
  await scope.close()
}
