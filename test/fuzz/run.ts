// `npm run fuzz`: a million random and mutated frames at each party, in memory and at a whole proxy's listener.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { Random } from '../support/seeded-random.ts'
import { fuzz } from './fuzz.ts'
import { LiveTarget } from './live-target.ts'
import { MemoryTarget } from './memory-target.ts'
import { PARTIES, type Party } from './target.ts'

const LIVE = 'live-proxy'
const TARGETS: readonly string[] = [...PARTIES, LIVE]

const HELP = `Usage: npm run fuzz -- [options]

Options:
  --frames <n>       frames at each target (default: 1000000)
  --targets <names>  of ${TARGETS.join(',')} (default: all); ${LIVE} is a whole proxy, reached through WebSockets
  --seed <n>         the same frames for the same seed; at ${LIVE} their timing differs (default: 1)
  --json             one JSON object a target
`

const { values } = parseArgs({
  options: {
    frames: { type: 'string', default: '1000000' },
    targets: { type: 'string', default: TARGETS.join(',') },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

async function attack(name: string): Promise<boolean> {
  const scope = new Cleanup()
  const frames = Number(values.frames)
  try {
    const random = new Random(Number(values.seed))
    const target =
      name === LIVE
        ? await LiveTarget.start(scope, random)
        : await new MemoryTarget(name as Party, random).start()
    const result = await fuzz(target, frames, random, (sent) => {
      if (process.stderr.isTTY) process.stderr.write(`\r${name}: ${sent} frames`)
    })
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    const ends = Object.entries(result.outcomes).map(([how, count]) => `${count} ${how}`)
    console.log(
      values.json
        ? JSON.stringify({ target: name, seed: Number(values.seed), ...result })
        : `${name}: ${result.frames} frames on ${result.links} links (${ends.join(', ')}) in ${(result.elapsedMs / 1_000).toFixed(0)} s; ${result.bystanderBytes} bytes of the bystander intact; heap ${(result.heapGrowthBytes / 1_048_576).toFixed(1)} MiB more`,
    )
    for (const violation of result.violations) console.log(`VIOLATION (seed ${values.seed}): ${violation}`)
    return result.violations.length === 0 && result.frames === frames
  } finally {
    await scope.close()
  }
}

async function main(): Promise<boolean> {
  const names = values.targets.split(',')
  const unknown = names.filter((name) => !TARGETS.includes(name))
  if (unknown.length > 0)
    throw new Error(`there is no ${unknown.join(', ')}; there are ${TARGETS.join(', ')}`)
  let ok = true
  for (const name of names) ok = (await attack(name)) && ok
  return ok
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = (await main()) ? 0 : 1
