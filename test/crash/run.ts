// `npm run crash`: what the queue promises, at length: a program, its disk, its links and its proxy, all killed at random.
import { spawnSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'
import { crash } from './crash.ts'
import { cutLog } from './cut-log.ts'
import { cuts } from './cuts.ts'

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

async function main(): Promise<void> {
  if (values.help) return void process.stdout.write(HELP)
  const seed = Number(values.seed ?? Date.now() % 1_000_000)
  const kills = Math.ceil(Number(values.kills) / 2)
  // Some of a life's requests come too late for its end.
  const perLife = Math.ceil((1.5 * Number(values.requests)) / (2 * kills))
  console.log(`seed ${seed}`)
  const scope = new Cleanup()
  try {
    console.log('log cut at every byte of its last record:', await cutLog(scope, 1))
    if (kills > 0) {
      console.log('killed, in order:', await crash(scope, { seed, kills, perLife, maxStreams: 1 }))
      const smallDisk = await mountSmallDisk(scope)
      const more = smallDisk === undefined ? {} : { smallDisk }
      const what = smallDisk === undefined ? 'killed:' : 'killed, on a disk that is full again and again:'
      console.log(what, await crash(scope, { seed: seed + 1, kills, perLife, maxStreams: 16, ...more }))
    }
    const requests = Number(values.through)
    if (requests === 0) return
    const concurrency = 200
    console.log('link cut:', await cuts(scope, { requests, concurrency, cutEvery: 1_000 }))
    const killed = { requests, concurrency, cutEvery: 1_000, killEvery: 5_000 }
    console.log('link cut, proxy killed:', await cuts(scope, killed))
  } finally {
    await scope.close()
  }
}

/** Root alone may mount one. */
async function mountSmallDisk(scope: Cleanup): Promise<string | undefined> {
  const folder = join(await tempFolder(scope, 'small'), 'disk')
  await mkdir(folder)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]).status !== 0) return undefined
  scope.after(() => spawnSync('umount', ['-l', folder]))
  return folder
}

await main()
process.exit(0)
