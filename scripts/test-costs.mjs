// What each process of tests costs, for `npm test -- --costs`: seconds from start to end, and of CPU, its own and that of the
// programs that it has started and seen end. Most of it belongs to the programs, which a profile of the tests does not show.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { sourceOf } from './compile-tests.mjs'

/** Ticks of /proc/<pid>/stat in a second. */
const TICKS_PER_SECOND = 100
/** Where utime stands behind the name; stime, cutime and cstime follow. */
const UTIME = 11

const [, path] = process.argv
const to = process.env.TUNNEL_TEST_COSTS
// Preloaded into each process of tests; the programs that they start write nothing.
if (to && isMainThread && process.env.NODE_TEST_CONTEXT && path?.includes('.tests')) {
  process.env.TUNNEL_TEST_COSTS = ''
  process.on('exit', () => {
    const fields = readFileSync('/proc/self/stat', 'utf8').split(') ').at(-1).split(' ')
    const ticks = fields.slice(UTIME, UTIME + 4).map(Number)
    const [own, children] = [ticks[0] + ticks[1], ticks[2] + ticks[3]].map((sum) => sum / TICKS_PER_SECOND)
    appendFileSync(to, `${JSON.stringify({ path, own, children, wall: performance.now() / 1_000 })}\n`)
  })
}

/** Prints what the processes have written, dearest first. @param {string} from @param {string} folder of compiled files */
export function printCosts(from, folder) {
  const lines = existsSync(from) ? readFileSync(from, 'utf8').trim().split('\n') : []
  const costs = lines.map((line) => JSON.parse(line))
  const sum = (key) => costs.reduce((total, cost) => total + cost[key], 0)
  const columns = (...numbers) => numbers.map((number) => number.toFixed(1).padStart(7)).join(' ')
  console.log('\n    CPU     own   wall (s)')
  for (const { path, own, children, wall } of costs.sort((a, b) => b.own + b.children - a.own - a.children)) {
    const name = sourceOf(path.slice(path.indexOf(folder)))
    console.log(`${columns(own + children, own, wall)}  ${name}`)
  }
  console.log(`${columns(sum('own') + sum('children'), sum('own'))}          in ${costs.length} processes`)
}
