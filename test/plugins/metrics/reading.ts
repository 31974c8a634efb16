import type { TestContext } from 'node:test'
import Fastify from 'fastify'
import errors from '../../../plugins/errors/index.ts'
import { metricsOfRoutes, metricsRoute } from '../../../plugins/metrics/index.ts'
import type { MetricsOptions } from '../../../plugins/metrics/options.ts'
import type { TestProxy } from '../../support/proxy.ts'
import { registerAuth, registerGround } from '../ground.ts'

export async function start(t: TestContext, options: MetricsOptions = { access: 'loopback' }) {
  const app = Fastify()
  t.after(() => app.close())
  await registerGround(t, app)
  await registerAuth(app)
  await app.register(metricsOfRoutes)
  await app.register(errors)
  await app.register(metricsRoute, { behindProxy: false, ...options })
  app.get('/machines/:machine', async () => 'yes')
  await app.ready()
  return app
}

/** The samples of a metric, as `label="value",…` to number; `{}` where it has no labels. */
export async function samples({ app }: TestProxy, name: string): Promise<Record<string, number>> {
  const text = await app.tunnelMetrics.read()
  const lines = [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))]
  return Object.fromEntries(lines.map(([, labels = '', value]) => [labels, Number(value)]))
}
