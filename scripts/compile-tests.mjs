// Compiles test files, with the sources that they import, into plain JavaScript that Node starts at once.
// Doing it once costs a second; loading TypeScript in every test's process costs a third of the whole run.
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { bundle } from './bundle.mjs'
import { bundleKept } from './bundle-kept.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Below the root, so that the packages are found. */
const OUT = '.tests'
const COMMAND = 'command'
/** Programs of ours that tests start, and modules that those import which tests write (test/support/compiled.ts). */
const FOR_PROGRAMS = [
  'bench/load.ts',
  'bench/web.ts',
  'test/load/caller.ts',
  'cli/turn.ts',
  'config/secrets.ts',
  'plugins/logging/output.ts',
  'plugins/state/embedded.ts',
]

/** Programs of their own, which the tests start and do not contain. */
const OUTSIDE = /^(@fastify\/swagger-ui|esbuild|playwright-core|tsx|typescript)(\/|$)/

/**
 * Modules that several files share are compiled once, and stay one module within a process. So is the command, with
 * the packages that dist/ leaves outside, twice: as modules, and as one file that starts soonest (bundle-kept.mjs).
 * @param {string[]} files from the root
 * @returns {Promise<{ folder: string, compiled: string[], command: string, remove: () => void }>} paths from the root
 */
export async function compileTests(files) {
  removeLeftovers()
  const folder = join(OUT, String(process.pid))
  const remove = () => rmSync(join(root, folder), { recursive: true, force: true })
  remove()
  const isInside = (name) => !OUTSIDE.test(name)
  const bundles = await Promise.all([
    bundle({
      ...{ build, isInside, outdir: folder, entryPoints: [...files, ...FOR_PROGRAMS] },
      ...{ placesIn: root, placesAs: '.ts', isMovable: false },
    }),
    bundle({
      ...{ build, isInside, outdir: join(folder, COMMAND), entryPoints: ['cli/run.ts', 'cli/dispatch.ts'] },
      ...{ placesIn: join(root, 'dist'), placesAs: '.js', isMovable: false },
    }),
    bundleKept({ build, isInside, outdir: join(folder, COMMAND), placesIn: join(root, 'dist') }),
  ])
  for (const { write } of bundles) write()
  return {
    folder,
    compiled: files.map((file) => join(folder, file.replace(/\.ts$/, '.js'))),
    command: join(folder, COMMAND, 'cli', 'kept.cjs'),
    remove,
  }
}

/**
 * Files whose tests are quick share a process: starting one takes longer than most of them.
 * @param {string} folder of the compiled files
 * @param {string[]} compiled
 * @param {RegExp[]} groups each matches the files of one process
 * @returns {string[]} what to run in place of `compiled`
 */
export function grouped(folder, compiled, groups) {
  const names = new Map()
  for (const path of compiled) {
    const index = groups.findIndex((group) => group.test(path))
    const name = index === -1 ? path : join(folder, `group-${index + 1}.js`)
    names.set(name, [...(names.get(name) ?? []), path])
  }
  for (const [name, paths] of names) {
    if (names.get(name)[0] === name) continue
    const imports = paths.map((path) => `import ${JSON.stringify(pathToFileURL(join(root, path)).href)}\n`)
    writeFileSync(join(root, name), imports.join(''))
  }
  // The groups first: they take longest, and what begins last should be short.
  const isGroup = (name) => names.get(name)[0] !== name
  return [...names.keys()].sort((a, b) => Number(isGroup(b)) - Number(isGroup(a)))
}

/** What a run that was killed could not remove. */
function removeLeftovers() {
  for (const pid of existsSync(join(root, OUT)) ? readdirSync(join(root, OUT)) : []) {
    try {
      process.kill(Number(pid), 0)
    } catch {
      rmSync(join(root, OUT, pid), { recursive: true, force: true })
    }
  }
}

/** The file that was compiled to `path`; any other path (or text) as it is. */
export function sourceOf(path) {
  return path.replace(/\.tests[\\/]\d+[\\/](.*)\.js$/, '$1.ts')
}
