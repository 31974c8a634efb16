// `npm run copies`: what `tunnel cp` promises of large files, on this computer.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { requireSystem } from '../support/system.ts'
import { copyGround, cutCopy, scpCopy, tunnelCopy, type Way } from './copies.ts'

const MIB = 1_048_576
const HELP = `Usage: npm run copies -- [options]

Copies a large file with tunnel cp, up and down: with its link cut again and again, then beside scp over a long path.

Options:
  --mib <n>     size of the file (default: 1024)
  --cuts <n>    how often the link is cut (default: 10)
  --rtt <ms>    round trip of the long path (default: 120)
  --only <what> cuts or rate (default: both)

It fails where a copy differs, no cut is told, or a path of 120 ms and more is not three times as fast as with scp.
`

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '1024' },
    cuts: { type: 'string', default: '10' },
    rtt: { type: 'string', default: '120' },
    only: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

const WAYS: readonly Way[] = ['up', 'down']
/** What is promised of a path of LONG_MS: so many times the rate of scp. */
const LEAST_TIMES = 3
const LONG_MS = 120

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const missing = requireSystem('sshd', 'scp')
  if (missing !== undefined) throw new Error(missing)
  const scope = new Cleanup()
  try {
    const ground = await copyGround(scope, Number(values.mib) * MIB)
    const megabytes = ground.byteCount / 1e6
    const rate = (seconds: number): string => `${(megabytes / seconds).toFixed(1)} MB/s`
    if (values.only !== 'rate') {
      for (const way of WAYS) {
        const { resumes, seconds, checked } = await cutCopy(ground, way, Number(values.cuts))
        console.log(
          `${way}: cut ${values.cuts} times, resumed ${resumes}, ${rate(seconds)}, checksum by ${checked}`,
        )
        if (resumes === 0 || checked !== 'both sides') process.exitCode = 1
      }
    }
    if (values.only === 'cuts') return
    ground.relay.delay(Number(values.rtt) / 2)
    for (const way of WAYS) {
      const scpSeconds = await scpCopy(ground, way)
      const { seconds } = await tunnelCopy(ground, way)
      const times = scpSeconds / seconds
      console.log(
        `${way}: at ${values.rtt} ms scp ${rate(scpSeconds)}, tunnel cp ${rate(seconds)}: ${times.toFixed(1)} times`,
      )
      if (times < LEAST_TIMES && Number(values.rtt) >= LONG_MS) process.exitCode = 1
    }
  } finally {
    await scope.close()
  }
}

await main()
process.exit()
