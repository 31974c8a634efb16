import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { FastifyInstance, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { Value } from 'typebox/value'
import { loadSettings } from '../../../config/index.ts'
import { Machine } from '../../../dial/machine.ts'
import { buildServer } from '../../../server.ts'
import { startProxy } from '../../support/proxy.ts'
import { tempFolder } from '../../support/tree.ts'
import { userOf } from '../../support/user.ts'

/** Links, the gateway, whose answers are the service's own, and the description of the others. */
const HIDDEN = /^\/api\/tunnel\/(connect|agent|docs\b.*|machines\/:machine\/http\/:port\/\*)$/

test('every route of ours says what it takes and what it answers', async (t) => {
  const routes: RouteOptions[] = []
  const listen = fp(
    async (app: FastifyInstance) => {
      app.addHook('onRoute', (route) => void routes.push(route))
    },
    { name: 'listen' },
  )
  const stateDir = join(await tempFolder(t, 'schemas'), 'state')
  const { settings } = loadSettings({ stateDir, env: {} })
  const app = await buildServer({ settings, plugins: [listen], logStream: { write: () => {} } })
  t.after(() => app.close())

  const isHidden = ({ schema }: RouteOptions): boolean => (schema as { hide?: boolean })?.hide === true
  for (const { url } of routes.filter(isHidden)) assert.match(url, HIDDEN)
  const ours = routes.filter(
    (route) => route.method !== 'HEAD' && route.websocket !== true && !isHidden(route),
  )
  assert.ok(ours.length >= 8, `${ours.length} routes`)
  for (const { method, url, schema } of ours) {
    assert.ok(schema?.response !== undefined, `${method} ${url} does not say what it answers`)
    const named = [...url.matchAll(/:(\w+)/g)].map(([, name]) => name)
    const { properties = {} } = (schema.params ?? {}) as { properties?: object }
    assert.deepEqual(Object.keys(properties), named, `${method} ${url}`)
  }
})

test('a machine is told as its schema has it, with all that is known of it', async (t) => {
  const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBL0gCvVwXyV8CkN3CHd1Jm3k8yYwqIwQ0gI0R0aXJkQ'
  const far = { host: '127.0.0.1', port: 22, user: 'me', hostKey, owners: ['alice'] }
  const proxy = await startProxy(t, { set: [`machines=${JSON.stringify({ far })}`] })
  await proxy.startAgent('home', 'alice', '127.0.0.1:1')
  const machines = (await (await proxy.api('alice', 'machines')).json()) as unknown[]
  assert.deepEqual(machines, JSON.parse(JSON.stringify(proxy.app.machines.list(userOf('alice')))))
  assert.equal(machines.length, 2)
  for (const machine of machines) assert.ok(Value.Check(Machine, machine), JSON.stringify(machine))
  const one = await (await proxy.api('alice', 'machines/home')).json()
  assert.deepEqual(
    one,
    machines.find((machine) => (machine as Machine).name === 'home'),
  )
})
