// `npm run soak`: users who come, use each kind of stream under cuts and leave, and what they leave behind.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import type { Held } from './held.ts'
import { Soak } from './soak.ts'

const HELP = `Usage: npm run soak -- [options]

Options:
  --minutes <n>   of churn, in two halves, of which the second has to add nothing (default: 10)
  --parallel <n>  users at once (default: 5)
`

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    parallel: { type: 'string', default: '5' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}

/** Work that a user has caused is remembered for that long (plugins/links/work.ts), in ms. */
const WORK_KEPT_MS = 61_000
/** Of the heap, in KiB: a thousand users' SSH keys are kept, and whatever V8 has compiled meanwhile. */
const MAX_GROWN_KIB = 4_096
/**
 * Of no class of their own, so that what they stand for grows itself; Node keeps an empty list of timers for each number
 * of milliseconds until those have passed.
 */
const NOT_COUNTED = /^(Object|Array|\(.*|system \/ .*|TimersList|)$/

const halfMs = Number(values.minutes) * 30_000
const parallel = Number(values.parallel)
const scope = new Cleanup()

async function half(soak: Soak): Promise<Held> {
  const endMs = performance.now() + halfMs
  while (performance.now() < endMs) await soak.live(parallel)
  await new Promise((resolve) => setTimeout(resolve, WORK_KEPT_MS))
  return soak.held()
}

try {
  const soak = await Soak.start(scope)
  const before = await half(soak)
  const { users } = soak.deeds
  const after = await half(soak)
  const came = soak.deeds.users - users
  console.table(soak.deeds)
  const sizes = (['heapKib', 'descriptors'] as const).map(
    (name) => [name, before[name], after[name]] as const,
  )
  const grown = [...after.objects]
    .map(([name, count]) => [name, before.objects.get(name) ?? 0, count] as const)
    .filter(([name, had, has]) => !NOT_COUNTED.test(name) && has - had > came / 10)
  for (const [name, had, has] of [...sizes, ...grown]) console.log(`${name.padEnd(32)} ${had} → ${has}`)
  const isHeld = after.heapKib - before.heapKib > MAX_GROWN_KIB || after.descriptors > before.descriptors + 2
  if (grown.length > 0 || isHeld) {
    console.log(`what ${came} users have left behind has not gone`)
    process.exitCode = 1
  }
} finally {
  await scope.close()
}
