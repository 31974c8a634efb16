// `npm run chaos -- cluster day`: a day of three replicas in half an hour.
import { parseArgs } from 'node:util'
import { Cleanup } from '../../support/scope.ts'
import { requireSystem } from '../../support/system.ts'
import { NetworkNamespace, whyNoNamespaces } from '../netns.ts'
import { startRoundRobin } from './balancer.ts'
import { runDay } from './day.ts'

const MIB = 1_048_576
const HELP = `Usage: npm run chaos -- cluster day [options]

Three replicas that are deployed without end under stock ssh, scp and rsync, while some are killed, the balancer drops
every connection, and a laptop changes its address and sleeps. As root, the laptop is a network namespace.

Options:
  --rolls <n>          rolling restarts of all three (default: 100)
  --kills <n>          SIGKILLs of a random replica (default: 20)
  --reloads <n>        of the balancer (default: 20)
  --addresses <n>      changes of the laptop's address (default: 20)
  --sleeps <n>         of the laptop (default: 10)
  --asleep <seconds>   each (default: 90)
  --ssh <n>            sessions that are typed into all the time (default: 20)
  --laptop <n>         sessions on the laptop (default: 5)
  --scp <n>            copies that run at once (default: 4)
  --rsync <n>          the same (default: 4)
  --seed <n>           of the data and of the moments (default: 1)
  --logs <folder>      for what each replica has written
  --json               the report as JSON
`

const { values } = parseArgs({
  options: {
    rolls: { type: 'string', default: '100' },
    kills: { type: 'string', default: '20' },
    reloads: { type: 'string', default: '20' },
    addresses: { type: 'string', default: '20' },
    sleeps: { type: 'string', default: '10' },
    asleep: { type: 'string', default: '90' },
    ssh: { type: 'string', default: '20' },
    laptop: { type: 'string', default: '5' },
    scp: { type: 'string', default: '4' },
    rsync: { type: 'string', default: '4' },
    seed: { type: 'string', default: '1' },
    logs: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

async function main(): Promise<boolean> {
  const missing = requireSystem('sshd', 'ssh', 'scp', 'rsync', 'redis-server')
  if (missing !== undefined) throw new Error(`${missing}; run node scripts/install-test-packages.mjs`)
  const noNamespaces = await whyNoNamespaces()
  if (noNamespaces !== undefined) console.error(`no changes of address: ${noNamespaces}`)
  const cleanup = new Cleanup()
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())
  try {
    const network = noNamespaces === undefined ? await NetworkNamespace.create(cleanup) : undefined
    const number = (name: 'rolls' | 'kills' | 'reloads' | 'sleeps' | 'ssh' | 'laptop' | 'scp' | 'rsync') =>
      Number(values[name])
    const report = await runDay(cleanup, {
      network,
      balancer: await startRoundRobin(cleanup, network?.hostAddress),
      ...{ rolls: number('rolls'), kills: number('kills'), reloads: number('reloads') },
      ...{ sleeps: number('sleeps'), sleepMs: Number(values.asleep) * 1_000 },
      addresses: network === undefined ? 0 : Number(values.addresses),
      ...{ ssh: number('ssh'), laptop: number('laptop'), scp: number('scp'), rsync: number('rsync') },
      ...{ gapMs: 200, copyBytes: 8 * MIB, bytesPerSecond: 131_072, openEveryMs: 500 },
      ...{ seed: values.seed, random: Number(values.seed), logs: values.logs, signal: interrupted.signal },
      progress: (text) => process.stderr.write(`${new Date().toISOString().slice(11, 23)} ${text}\n`),
    })
    if (values.json) console.log(JSON.stringify(report))
    else {
      const { counts, gapMs, broken, failedOpens, equal, opens, seconds } = report
      const events = Object.entries(counts).map(([name, count]) => `${count} ${name}`)
      const gaps = Object.entries(gapMs).map(([name, ms]) => `${name} ${Math.round(ms)} ms`)
      console.log(`${events.join(', ')} in ${seconds} s: ${broken.length} sessions broken`)
      console.log(`longest echo of each ssh in 5 s: ${gaps.join(', ')}`)
      console.log(
        `${equal} copies equal; of ${opens + failedOpens.length} new streams ${failedOpens.length} failed`,
      )
      for (const text of [...broken, ...failedOpens]) console.log(`  ${text}`)
    }
    return report.broken.length + report.failedOpens.length === 0 && !interrupted.signal.aborted
  } finally {
    await cleanup.close()
  }
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = (await main()) ? 0 : 1
