// `npm run flood`: an innocent user's keystrokes beside floods by another user, as a ratio to a quiet proxy.
import { parseArgs } from 'node:util'
import { Cleanup } from '../support/scope.ts'
import { type Echoes, FLOODS, Scene } from './flood.ts'

const HELP = `Usage: npm run flood -- [options]

Options:
  --floods <names>   of ${FLOODS.join(',')} (default: all)
  --links <list>     links of the flooder (default: 1,8)
  --seconds <n>      for each (default: 8)
`

const { values } = parseArgs({
  options: {
    floods: { type: 'string', default: FLOODS.join(',') },
    links: { type: 'string', default: '1,8' },
    seconds: { type: 'string', default: '8' },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit(0)
}
const scope = new Cleanup()
const ms = Number(values.seconds) * 1_000
try {
  const scene = await Scene.start(scope)
  await scene.echoes(500)
  const quiet = await scene.echoes(ms)
  const row = (name: string, { count, p50Ms, p95Ms, maxMs }: Echoes): void => {
    const ratio = `${(p50Ms / quiet.p50Ms).toFixed(1)} / ${(p95Ms / quiet.p95Ms).toFixed(1)}`
    const times = [p50Ms, p95Ms, maxMs].map((value) => value.toFixed(1).padStart(7)).join(' ')
    process.stdout.write(`${name.padEnd(20)} ${String(count).padStart(5)} ${times}  ${ratio}\n`)
  }
  process.stdout.write(`${'flood'.padEnd(20)} echoes  p50 ms  p95 ms  max ms  p50 / p95 to quiet\n`)
  row('none', quiet)
  for (const kind of values.floods.split(',')) {
    for (const links of values.links.split(',')) {
      row(`${kind} x ${links}`, await scene.beside(kind, Number(links), ms))
      // The flooder's account fills again.
      await scene.echoes(3_000)
    }
  }
} finally {
  await scope.close()
}
