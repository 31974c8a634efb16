// `npm run hostile [-- --cases N --seed N]`: a service that does what it can to the gateway, and what callers got of it.
import { parseArgs } from 'node:util'
import { until } from '../../support/proxy.ts'
import { Cleanup } from '../../support/scope.ts'
import { runHostile } from './hostile.ts'
import { startScene } from './scene.ts'

const { values } = parseArgs({ options: { cases: { type: 'string' }, seed: { type: 'string' } } })
const [cases, seed] = [Number(values.cases ?? 10_000), Number(values.seed ?? Date.now() % 1_000_000)]
const scope = new Cleanup()
try {
  const scene = await startScene(scope, ['breaker.failures=1000'])
  const report = await runHostile(scope, scene, { cases, seed })
  await until(() => scene.proxy.app.pool.states().busy === 0)
  for (const [deed, counts] of [...report.outcomes].sort())
    console.log(deed.padEnd(36), [...counts].map(([outcome, count]) => `${outcome}: ${count}`).join(', '))
  console.log(
    `${report.cases} cases, seed ${seed}; ${report.wrong.length} wrong, ${report.early} early; ${Math.round(process.memoryUsage().rss / 1_048_576)} MiB`,
  )
  for (const wrong of report.wrong.slice(0, 20)) console.log(wrong)
  if (report.wrong.length > 0) process.exitCode = 1
} finally {
  await scope.close()
}
