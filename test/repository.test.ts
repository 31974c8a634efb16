import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { constants, statSync } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const SOURCES = ['protocol', 'dial', 'client', 'agent', 'plugins', 'config', 'cli'] as const

const read = (path: string) => readFile(join(root, path), 'utf8')

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
  for (const name of ['prepare', 'lint', 'types', 'test', 'demo', 'bench', 'chaos', 'fuzz', 'firsthour'])
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

test('npx, which prepares this folder again at its first use, leaves a built dist as it is', () => {
  const builtAtMs = statSync(join(root, 'dist', 'cli', 'main.cjs')).mtimeMs
  const env = { ...process.env, npm_command: 'exec' }
  execFileSync(process.execPath, [join(root, 'scripts', 'build.mjs')], { env })
  assert.equal(statSync(join(root, 'dist', 'cli', 'main.cjs')).mtimeMs, builtAtMs)
})

test('what package.json exports and runs is in dist and can be loaded', async () => {
  const { exports, bin } = JSON.parse(await read('package.json')) as {
    exports: Record<string, string | { default: string; browser: { types: string; default: string } }>
    bin: Record<string, string>
  }
  const typed = (path: string) => ({ path, types: path.replace(/\.js$/, '.d.ts') })
  const entries = Object.values(exports).flatMap((entry) => {
    if (typeof entry === 'string') return typed(entry)
    const { types, default: path } = entry.browser
    return [typed(entry.default), { path, types }]
  })
  for (const { path, types } of entries) {
    const loaded: object = await import(pathToFileURL(join(root, path)).href)
    assert.ok(Object.keys(loaded).length > 0, `${path} exports nothing`)
    await assert.doesNotReject(access(join(root, types)), `${path} has no types`)
  }
  for (const path of Object.values(bin)) {
    assert.match(await read(path), /^#!\/usr\/bin\/env node\n/)
    await assert.doesNotReject(access(join(root, path), constants.X_OK), `${path} is executable`)
  }
})
