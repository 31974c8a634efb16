import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import health from '../../../plugins/health/index.ts'
import { registerGround } from '../ground.ts'

interface Readiness {
  status: string
  uptimeSeconds: number
  checks: Record<string, { status: string; detail?: string }>
}

async function start(t: TestContext) {
  const app = Fastify()
  t.after(() => app.close())
  await registerGround(t, app)
  await app.register(health)
  const ready = async () => {
    const answer = await app.inject('/api/tunnel/health/ready')
    return { httpStatus: answer.statusCode, ...answer.json<Readiness>() }
  }
  return { app, ready }
}

test('a proxy that lives says so, and since when', async (t) => {
  const { app } = await start(t)
  const answer = await app.inject('/api/tunnel/health')
  assert.equal(answer.statusCode, 200)
  assert.deepEqual(answer.json(), { status: 'ok', uptimeSeconds: 0 })
  assert.equal(answer.headers['cache-control'], 'no-store')
})

test('a proxy is ready when every check is well, its own and those that plugins added', async (t) => {
  const { app, ready } = await start(t)
  app.health.addCheck('mine', () => undefined)
  const { httpStatus, status, uptimeSeconds, checks } = await ready()
  assert.equal(httpStatus, 200)
  assert.equal(status, 'ready')
  assert.equal(uptimeSeconds, 0)
  assert.deepEqual(checks, {
    accepting: { status: 'ok' },
    state: { status: 'ok' },
    mine: { status: 'ok' },
  })
})

test('one failed check is enough for 503, and the proxy still lives', async (t) => {
  const { app, ready } = await start(t)
  let problem: string | undefined = 'no route to anywhere'
  app.health.addCheck('mine', async () => problem)
  const metric = async () =>
    /^tunnel_health_check_ok\{check="mine"\} (\d)$/m.exec(await app.tunnelMetrics.read())?.[1]
  assert.equal(await metric(), '0')
  const unready = await ready()
  assert.equal(unready.httpStatus, 503)
  assert.equal(unready.status, 'unready')
  assert.deepEqual(unready.checks.mine, { status: 'failed', detail: 'no route to anywhere' })
  assert.equal((await app.inject('/api/tunnel/health')).statusCode, 200)
  problem = undefined
  assert.equal((await ready()).httpStatus, 200)
  assert.equal(await metric(), '1')
})

test('a check that throws has failed, and what it threw stays inside', async (t) => {
  const { app, ready } = await start(t)
  app.health.addCheck('sync', () => {
    throw new Error('redis://user:pass@host')
  })
  app.health.addCheck('async', () => Promise.reject(new Error('redis://user:pass@host')))
  const unready = await ready()
  assert.equal(unready.httpStatus, 503)
  assert.equal(unready.checks.sync?.status, 'failed')
  assert.equal(unready.checks.async?.status, 'failed')
  assert.doesNotMatch(JSON.stringify(unready), /redis|pass/)
})

test('a check that never answers has failed after its time', async (t) => {
  const { app } = await start(t)
  app.health.addCheck('silent', () => new Promise(() => {}))
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const run = app.health.run()
  t.mock.timers.tick(2_000)
  const { ready, checks } = await run
  assert.equal(ready, false)
  assert.deepEqual(checks.silent, { status: 'failed', detail: 'no answer in time' })
})

test('a state that is gone makes the proxy unready', async (t) => {
  const { app, ready } = await start(t)
  await app.ready()
  await app.state.close()
  const unready = await ready()
  assert.equal(unready.httpStatus, 503)
  assert.equal(unready.checks.state?.status, 'failed')
})

test('a state that can be read and not written makes the proxy unready', async (t) => {
  const { app, ready } = await start(t)
  await app.ready()
  app.state.put = () => Promise.reject(new Error('ENOSPC'))
  const { httpStatus, checks } = await ready()
  assert.deepEqual([httpStatus, checks.state?.status], [503, 'failed'])
})

test('a proxy that drains takes no new work and says so', async (t) => {
  const { app, ready } = await start(t)
  assert.equal((await ready()).httpStatus, 200)
  let goOn: () => void = () => {}
  const held = new Promise<void>((resolve) => {
    goOn = resolve
  })
  app.lifecycle.onDrain('stop accepting', () => held)
  const drained = app.lifecycle.drain(1_000)
  const unready = await ready()
  assert.equal(unready.httpStatus, 503)
  assert.equal(unready.checks.accepting?.status, 'failed')
  assert.equal((await app.inject('/api/tunnel/health')).statusCode, 200)
  goOn()
  await drained
})
