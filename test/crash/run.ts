// `npm run crash`: what the queue promises, at length: a program, its disk, its links and its proxy, all killed at random.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { crash } from './crash.ts'
import { cutLog } from './cut-log.ts'
import { cuts } from './cuts.ts'
import { SmallDisk } from './small-disk.ts'

const HELP = `Usage: npm run crash -- [options]

Options:
  --requests <n>  that programs which are killed accept, half of them in strict order (default: 10000)
  --kills <n>     of these programs (default: 200)
  --through <n>   requests through links that are cut every second or so, and a proxy that is killed (default: 50000)
  --seed <n>      (default: from the clock)
`

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    kills: { type: 'string', default: '200' },
    through: { type: 'string', default: '50000' },
    seed: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})

/** One line of the table, as soon as it is known. */
function row(what: string, told: object): void {
  const figures = Object.entries(told).map(([name, value]) => `${name} ${value}`)
  console.log(`| ${what} | ${figures.join(', ')} |`)
}

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const seed = Number(values.seed ?? Date.now() % 1_000_000)
  const kills = Math.ceil(Number(values.kills) / 2)
  // A life is killed somewhere between its first request and its last.
  const perLife = Math.ceil((2.4 * Number(values.requests)) / (2 * kills))
  console.log(`seed ${seed}\n\n| what dies | what became of it |\n| --- | --- |`)
  const scope = new Cleanup()
  try {
    row('the end of the log, at every byte of its last record', { cuts: await cutLog(scope, 1) })
    if (kills > 0) {
      row('the program, one place on the link', await crash(scope, { seed, kills, perLife, maxStreams: 1 }))
      const disk = SmallDisk.mount(scope)
      const what = `the program${disk === undefined ? '' : ', on a disk that is full again and again'}`
      row(what, await crash(scope, { seed: seed + 1, kills, perLife, maxStreams: 16, disk }))
    }
    const requests = Number(values.through)
    if (requests === 0) return
    const through = { requests, concurrency: 200, cutEvery: 1_000 }
    row('the link', await cuts(scope, through))
    row('the link, and the proxy', await cuts(scope, { ...through, killEvery: 5_500 }))
  } finally {
    await scope.close()
  }
}

await main()
process.exit(0)
