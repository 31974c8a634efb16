import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '..')
const AREAS = [
  'protocol',
  'dial',
  'client',
  'agent',
  'plugins',
  'custom',
  'testing',
  'config',
  'cli',
  'examples',
] as const

interface Import {
  /** The importing file and, where it is one of ours, the imported one, from the root. */
  from: string
  to: string
  isOurs: boolean
  /** Gone after compiling. An import whose names are types one by one is not: it stays as an empty import. */
  isType: boolean
}

const STATIC = /^[ \t]*(?:import|export)\s+(type\s+)?(?:[\w*{][^'"`;]*?\sfrom\s+)?['"]([^'"\n]+)['"]/gm
const DYNAMIC = /(typeof\s+)?\bimport\(\s*['"]([^'"\n]+)['"]/g

function importsOf(from: string, source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  const found = [...code.matchAll(STATIC), ...code.matchAll(DYNAMIC)]
  return found.map(([, type, specifier = '']) => {
    const isOurs = specifier.startsWith('.')
    const to = isOurs ? relative(ROOT, resolve(ROOT, dirname(from), specifier)) : specifier
    return { from, to, isOurs, isType: type !== undefined }
  })
}

function filesUnder(folder: string): string[] {
  if (!existsSync(join(ROOT, folder))) return []
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesUnder(path)
    return /\.tsx?$/.test(entry.name) ? [path] : []
  })
}

const FILES = [...AREAS.flatMap((area) => filesUnder(area)), 'index.ts', 'server.ts']
const IMPORTS = FILES.flatMap((file) => importsOf(file, readFileSync(join(ROOT, file), 'utf8')))

const areaOf = (path: string) => path.split('/')[0] ?? ''
const pluginOf = (path: string) => (areaOf(path) === 'plugins' ? path.split('/')[1] : undefined)
const show = (imports: Import[]) => imports.map(({ from, to }) => `${from} → ${to}`)

/** Rule 4 of the house style: what each area may import besides itself. */
const ARROWS: Record<string, (to: string, isType: boolean) => boolean> = {
  protocol: () => false,
  dial: (to) => areaOf(to) === 'protocol',
  client: (to) => ['protocol', 'dial'].includes(areaOf(to)),
  agent: (to) => ['protocol', 'dial'].includes(areaOf(to)),
  plugins: (to) => ['protocol', 'dial'].includes(areaOf(to)),
  custom: (to) => areaOf(to) === 'protocol',
  testing: (to) => to !== 'index.ts' && !['cli', 'examples'].includes(areaOf(to)),
  'index.ts': () => true,
  config: (to) => /^(plugins\/[^/]+|client|custom|dial)\/options\.ts$/.test(to) || areaOf(to) === 'protocol',
  'server.ts': (to) => ['plugins', 'custom', 'config', 'protocol'].includes(areaOf(to)),
  cli: (to) =>
    (AREAS as readonly string[]).includes(areaOf(to)) || to === 'server.ts' || to === 'package.json',
  examples: (to) => !['cli', 'test', 'bench'].includes(areaOf(to)),
}

test('the reader of imports reads every form of them', () => {
  const source = `
    import fp from 'fastify-plugin'
    import type { A } from '../a.ts'
    import { type B, c } from './b.ts'
    import {
      d,
    } from "../../d.ts"
    export * from './e.ts'
    export type { F } from './f.ts'
    import './g.ts'
    // import h from './h.ts'
    /* import i from './i.ts' */
    const j = await import('./j.ts')
    type K = typeof import('./k.ts')
    export const l = 'import x from y'
    import * as m from 'node:m'`
  const found = importsOf('plugins/x/index.ts', source).map(
    ({ to, isType }) => `${isType ? 'type ' : ''}${to}`,
  )
  assert.deepEqual(found, [
    'fastify-plugin',
    'type plugins/a.ts',
    'plugins/x/b.ts',
    'd.ts',
    'plugins/x/e.ts',
    'type plugins/x/f.ts',
    'plugins/x/g.ts',
    'node:m',
    'plugins/x/j.ts',
    'type plugins/x/k.ts',
  ])
  assert.ok(FILES.length > 40, `only ${FILES.length} files were read`)
  assert.ok(IMPORTS.length > 2 * FILES.length, `only ${IMPORTS.length} imports were found`)
})

test('imports point one way', () => {
  const wrong = IMPORTS.filter(({ from, to, isOurs, isType }) => {
    if (!isOurs || areaOf(from) === areaOf(to)) return false
    return ARROWS[areaOf(from)]?.(to, isType) !== true
  })
  assert.deepEqual(show(wrong), [])
})

test('a plugin takes of another plugin its types alone, from its index.ts', () => {
  const wrong = IMPORTS.filter(({ from, to, isOurs, isType }) => {
    const other = pluginOf(to)
    if (!isOurs || pluginOf(from) === undefined || other === undefined || other === pluginOf(from))
      return false
    return !isType || to !== `plugins/${other}/index.ts`
  })
  assert.deepEqual(show(wrong), [])
})

test('of the plugins ssh alone knows ssh2, its types included', () => {
  const users = IMPORTS.filter(({ from, to }) => pluginOf(from) !== undefined && /^ssh2(\/|$)/.test(to))
  assert.deepEqual([...new Set(users.map(({ from }) => pluginOf(from)))], ['ssh'])
})

test("only a plugin's index.ts imports Fastify, types aside", () => {
  const isFastify = (to: string) => /^(fastify|@fastify\/.+|fastify-.+)$/.test(to)
  const wrong = IMPORTS.filter(({ from, to, isType }) => {
    return (
      pluginOf(from) !== undefined && isFastify(to) && !isType && !/^plugins\/[^/]+\/index\.ts$/.test(from)
    )
  })
  assert.deepEqual(show(wrong), [])
  assert.ok(IMPORTS.some(({ from, to }) => pluginOf(from) !== undefined && isFastify(to)))
})

test('what a login needs is loaded by a login alone', () => {
  const users = IMPORTS.filter(({ to }) => to === 'openid-client').map(({ from }) => from)
  assert.deepEqual(users, ['cli/login/issuer.ts'])
  const eager = FILES.filter((file) =>
    /^import (?!type\b)[^\n]*login\/(issuer|kept-login)\.ts'/m.test(readFileSync(join(ROOT, file), 'utf8')),
  )
  assert.deepEqual(eager, [])
})

test('the protocol runs in a browser: Node and packages only below protocol/node', () => {
  const wrong = IMPORTS.filter(({ from, to, isOurs, isType }) => {
    if (areaOf(from) !== 'protocol' || from.startsWith('protocol/node/')) return false
    // TypeBox is plain JavaScript, and `options.ts` is read by programs that have settings.
    if (isOurs) return to.startsWith('protocol/node/')
    return !isType && !(to === 'typebox' && from === 'protocol/options.ts')
  })
  assert.deepEqual(show(wrong), [])
})

test('every import of ours names a file that is there, with its ending', () => {
  const wrong = IMPORTS.filter(({ to, isOurs }) => isOurs && !existsSync(join(ROOT, to)))
  assert.deepEqual(show(wrong), [])
  assert.deepEqual(show(IMPORTS.filter(({ to, isOurs }) => isOurs && !/\.(tsx?|json)$/.test(to))), [])
})

test('the environment is read in config/ and cli/ alone', () => {
  const readers = FILES.filter((file) => /\bprocess\.env\b/.test(readFileSync(join(ROOT, file), 'utf8')))
  assert.deepEqual(
    readers.filter((file) => !['config', 'cli', 'examples'].includes(areaOf(file))),
    [],
  )
  assert.ok(readers.length > 0)
})

test('every plugin says its name, its Fastify and nothing twice', () => {
  const folders = readdirSync(join(ROOT, 'plugins'), { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  )
  for (const { name } of folders) {
    const file = join(ROOT, 'plugins', name, 'index.ts')
    if (!existsSync(file)) continue
    const source = readFileSync(file, 'utf8')
    assert.match(source, new RegExp(`name: 'tunnel-${name}'`), name)
    assert.match(source, /fastify: '5\.x'/, name)
    assert.match(source, /export default fp/, name)
  }
})
