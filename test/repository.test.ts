import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import test from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const SOURCES = ['protocol', 'client', 'agent', 'plugins', 'config', 'cli'] as const

const read = (path: string) => readFile(join(root, path), 'utf8')

async function sourceFiles(folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
}

interface Import {
  /** Path from the root for our own files, else the module's name. */
  target: string
  own: boolean
  typeOnly: boolean
}

async function importsOf(path: string): Promise<Import[]> {
  const text = await read(path)
  const statements = text.matchAll(/^\s*(?:import|export)\s+(type\s)?[^'"`;]*?from\s+'([^']+)'/gm)
  const dynamic = text.matchAll(/\bimport\('([^']+)'\)/g)
  const found = [...statements].map(([, type, target]) => ({ typeOnly: type !== undefined, target: target! }))
  found.push(...[...dynamic].map(([, target]) => ({ typeOnly: false, target: target! })))
  return found.map(({ typeOnly, target }) => {
    const own = target.startsWith('.')
    return { typeOnly, own, target: own ? relative(root, join(root, dirname(path), target)) : target }
  })
}

/** What each part may import of ours; all may import their own. */
const ARROWS: Record<(typeof SOURCES)[number], RegExp> = {
  protocol: /^protocol\//,
  client: /^(client|protocol)\/|^config\/profiles\/|^config\/client/,
  agent: /^(agent|client|protocol)\//,
  plugins: /^(plugins|protocol)\//,
  config: /^(config|protocol)\/|^plugins\/[^/]+\/options\.ts$|^(client|agent)\/options\.ts$/,
  cli: /^/,
}

test('imports point one way', async () => {
  const wrong: string[] = []
  for (const part of SOURCES) {
    for (const path of await sourceFiles(part)) {
      for (const { own, target, typeOnly } of await importsOf(path)) {
        if (own && !typeOnly && !ARROWS[part].test(target)) wrong.push(`${path} → ${target}`)
        const plugin = /^plugins\/[^/]+\//.exec(path)?.[0]
        if (own && !typeOnly && plugin && target.startsWith('plugins/') && !target.startsWith(plugin)) {
          wrong.push(`${path} → ${target} (another plugin's code)`)
        }
        if (part === 'protocol' && target.startsWith('node:') && !path.startsWith('protocol/node/')) {
          wrong.push(`${path} → ${target} (the protocol runs in browsers)`)
        }
      }
    }
  }
  assert.deepEqual(wrong, [])
})

test('of a plugin only index.ts knows Fastify, and each says its name, version and default export', async () => {
  for (const path of await sourceFiles('plugins')) {
    const imports = await importsOf(path)
    const fastify = imports.filter(
      ({ target, typeOnly }) => /^(fastify|fastify-plugin)$/.test(target) && !typeOnly,
    )
    if (!path.endsWith('/index.ts')) {
      assert.deepEqual(fastify, [], `${path} imports Fastify`)
      continue
    }
    const text = await read(path)
    const folder = path.split('/')[1]
    assert.match(text, /export default fp(<\w+>)?\(/, path)
    assert.match(text, new RegExp(`name: 'tunnel-${folder}'`), path)
    assert.match(text, /fastify: '5\.x'/, path)
  }
})

test('the repository holds what its readers expect', async () => {
  const expected = [
    ...[
      'README.md',
      'LICENSE',
      '.ci/run',
      'package.json',
      'package-lock.json',
      'biome.json',
      'tsconfig.json',
    ],
    ...['server.ts', ...SOURCES, 'test', 'bench', 'examples', 'docs', 'scripts', 'config/profiles'],
  ]
  for (const path of expected) await assert.doesNotReject(access(join(root, path)), path)
  await assert.doesNotReject(access(join(root, '.ci/run'), constants.X_OK), '.ci/run is executable')
  const { scripts } = JSON.parse(await read('package.json')) as { scripts: Record<string, string> }
  for (const name of ['prepare', 'lint', 'types', 'test', 'demo', 'bench', 'chaos', 'fuzz'])
    assert.ok(scripts[name], name)
})

test('the lockfile names no registry, and no file names a path of the machine it was written on', async () => {
  assert.doesNotMatch(await read('package-lock.json'), /"resolved": "https?:/)
  let files: string[]
  try {
    files = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
      .split('\0')
      .filter(Boolean)
  } catch {
    return // a packed copy without its history has no list
  }
  const machinePaths = [`${root}/`, ...['main', 'shared'].map((folder) => ['', 'work', folder, ''].join('/'))]
  for (const file of files) {
    const text = await read(file).catch(() => '') // removed, and not yet committed
    for (const path of machinePaths) assert.ok(!text.includes(path), `${file} names ${path}`)
  }
})

test('what package.json exports and runs is in dist and can be loaded', async () => {
  const { exports, bin } = JSON.parse(await read('package.json')) as {
    exports: Record<string, string>
    bin: Record<string, string>
  }
  for (const path of Object.values(exports)) {
    const loaded: object = await import(pathToFileURL(join(root, path)).href)
    assert.ok(Object.keys(loaded).length > 0, `${path} exports nothing`)
    await assert.doesNotReject(access(join(root, path.replace(/\.js$/, '.d.ts'))), `${path} has no types`)
  }
  for (const path of Object.values(bin)) {
    assert.match(await read(path), /^#!\/usr\/bin\/env node\n/)
    await assert.doesNotReject(access(join(root, path), constants.X_OK), `${path} is executable`)
  }
})
