import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import { loadSettings } from '../../config/index.ts'
import type { CustomPlugin, TunnelPlugin } from '../../custom/index.ts'
import { loadPlugin } from '../../custom/load.ts'
import { PROVIDES } from '../../custom/provides.ts'
import { buildServer } from '../../server.ts'
import { tempFolder } from '../support/tree.ts'

type Given = TunnelPlugin | CustomPlugin

async function start(t: TestContext, plugins: Given[], pluginTimeoutMs = 10_000) {
  const stateDir = join(await tempFolder(t, 'custom'), 'state')
  const { settings } = loadSettings({ stateDir, env: {} })
  const logStream = { write: () => {} }
  const app = await buildServer({ settings, plugins, logStream, pluginTimeoutMs })
  t.after(() => app.close())
  return app
}

const refused = (t: TestContext, plugins: Given[], said: RegExp) =>
  assert.rejects(start(t, plugins, 3_000), (error: { code?: string; message: string }) => {
    assert.equal(error.code, 'CONFIG_INVALID', error.message)
    assert.match(error.message, said)
    return true
  })

test('what a built-in plugin has to decorate is what it does decorate, and its replacement is held to that', async (t) => {
  const app = await start(t, [])
  for (const [name, decorators] of Object.entries(PROVIDES)) {
    assert.ok(app.hasPlugin(name), name)
    for (const decorator of decorators) assert.ok(app.hasDecorator(decorator), `${name}: app.${decorator}`)
  }
  const idle = fp(async () => {}, { name: 'tunnel-policy' })
  await refused(t, [idle], /the plugin tunnel-policy did not start: it takes the place .* app\.policy$/)
})

test('a plugin is given its options, with the defaults of its schema; one in the place of a built-in has both', async (t) => {
  const given: object[] = []
  const own: TunnelPlugin<object> = Object.assign(
    async (_app: unknown, options: object) => void given.push(options),
    {
      optionsSchema: Type.Object({ from: Type.Integer({ default: 6 }), names: Type.Array(Type.String()) }),
    },
  )
  const policy = fp<{ rules?: unknown; strict?: boolean }>(
    async (app, { rules, strict }) => {
      given.push({ rules, strict })
      app.decorate('policy', { check: async () => {} } as never)
    },
    { name: 'tunnel-policy' },
  )
  await start(t, [
    { plugin: own, options: { names: ['a'] } },
    { plugin: policy, options: { strict: true } },
  ])
  assert.deepEqual(given, [
    { rules: [], strict: true },
    { names: ['a'], from: 6 },
  ])
})

test('options that the schema refuses are named one by one', async (t) => {
  const schema = Type.Object(
    {
      from: Type.Integer({ minimum: 0 }),
      mode: Type.Union([Type.Literal('soft'), Type.Literal('hard')]),
      hosts: Type.Array(Type.String()),
    },
    { additionalProperties: false },
  )
  const plugin: TunnelPlugin = Object.assign(async function hours() {}, { optionsSchema: schema })
  await refused(t, [{ plugin, options: { mode: 'soft', hosts: [] } }], /hours are wrong: from is missing$/)
  const options = { from: -1, mode: 'x', hosts: ['a', 2], form: 3 }
  await refused(
    t,
    [{ plugin, options, from: '/etc/hours.js' }],
    /^the options of the plugin hours \(\/etc\/hours\.js\) are wrong: there is no option form; from must be >= 0; mode [^;]*; hosts\.1 must be string$/,
  )
})

test('a plugin that is wrong is explained when the proxy starts', async (t) => {
  const cases: [Given[], RegExp][] = [
    [
      [fp(async () => {}, { name: 'a', fastify: '4.x' })],
      /the plugin a did not start: it is made for another version of Fastify/,
    ],
    [
      [fp(async () => {}, { name: 'a', dependencies: ['office-hours'] })],
      /'office-hours' of plugin 'a' is not registered; one that is added stands before/,
    ],
    [
      [fp(async function hours() {}), fp(async () => {}, { name: 'a', dependencies: ['hours'] })],
      /'hours' of plugin 'a' is not registered; .* \(hours has none: fp\(plugin, \{ name: '…' \}\)\)$/,
    ],
    [
      [fp(async () => {}, { name: 'a', decorators: { fastify: ['nothing'] } })],
      /'nothing'.*; docs\/PLUGINS\.md lists/,
    ],
    [
      [
        async function thrower() {
          throw new Error('no database')
        },
      ],
      /^the plugin thrower did not start: no database$/,
    ],
    [
      [fp((_app, _options, _done) => {}, { name: 'forgets' })],
      /the plugin forgets did not start: it was not ready in time/,
    ],
    [
      [fp(async () => {}, { name: 'a' }), fp(async () => {}, { name: 'a' })],
      /the plugin a did not start: it is there twice/,
    ],
    [
      [
        async function health(app: FastifyInstance) {
          app.get('/api/tunnel/health', async () => 'fine')
        },
      ],
      /^the plugin health did not start: (GET|HEAD) \/api\/tunnel\/health is a route of the proxy's own$/,
    ],
    [
      [
        async function guard(app: FastifyInstance) {
          app.tunnel.addHook('preOpn' as 'preOpen', () => {})
        },
      ],
      /^the plugin guard did not start: there is no hook preOpn: .* onConnect, preOpen, /,
    ],
    [
      [
        async function guard(app: FastifyInstance) {
          app.tunnel.addHook('preOpen', undefined as never)
        },
      ],
      /^the plugin guard did not start: the hook preOpen is not a function/,
    ],
    [[{ plugin: 'x' as never, from: '/x.js' }], /the plugin \/x\.js did not start: it is not a function/],
  ]
  for (const [plugins, said] of cases) await refused(t, plugins, said)
})

test('a plugin is a file, the folder of a package, or a package that is installed beside the configuration', async (t) => {
  const folder = await tempFolder(t, 'custom')
  const files = {
    'node_modules/@me/hours/package.json':
      '{ "name": "@me/hours", "type": "module", "exports": "./main.js" }',
    'node_modules/@me/hours/main.js':
      'export default async function hours() {}\nexport const optionsSchema = { type: "object", properties: { from: { type: "integer" } } }',
    'plain.mjs': 'export default async function plain() {}',
    'empty/readme': '',
  }
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true })
    await writeFile(join(folder, name), text)
  }
  const named = await loadPlugin('@me/hours', { from: 7 }, folder)
  assert.equal(named.plugin.name, 'hours')
  assert.equal((named.plugin.optionsSchema as { type?: string } | undefined)?.type, 'object')
  assert.deepEqual(named.options, { from: 7 })
  assert.equal((await loadPlugin('node_modules/@me/hours', {}, folder)).plugin, named.plugin)
  assert.equal((await loadPlugin('plain.mjs', {}, folder)).plugin.name, 'plain')
  await assert.rejects(
    loadPlugin('@me/other', {}, folder),
    /does not exist: it is not a file in .*, nor a package/,
  )
  await assert.rejects(loadPlugin('empty', {}, folder), /is a folder, and not that of a package/)
})

test('a module that never comes to its end is told as such, and does not end the start without a word', async (t) => {
  const folder = await tempFolder(t, 'custom')
  await writeFile(join(folder, 'hangs.mjs'), 'await new Promise(() => {})\nexport default async () => {}')
  await assert.rejects(
    loadPlugin('hangs.mjs', {}, folder, 50),
    /hangs\.mjs was not loaded in time: it waits outside of functions$/,
  )
})
