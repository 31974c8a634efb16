// Compiles test files, with the sources that they import, into plain JavaScript that Node starts at once.
// Doing it once costs a second; loading TypeScript in every test's process costs a third of the whole run.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Packages stay where they are, except TypeBox: its several hundred modules take longer to load than all others. */
const packagesOutside = {
  name: 'packages-outside',
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, ({ kind, path }) =>
      kind === 'entry-point' || /^typebox(\/|$)/.test(path) ? undefined : { path, external: true },
    )
  },
}

/** Modules keep the place of their source: they read files beside it, and tests start others from there. */
const keepPlaces = {
  name: 'keep-places',
  setup(build) {
    build.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      const places = { url: pathToFileURL(path).href, dirname: dirname(path), filename: path }
      const source = readFileSync(path, 'utf8')
      const contents = source.replace(/\bimport\.meta\.(url|dirname|filename)\b/g, (_, name) =>
        JSON.stringify(places[name]),
      )
      return { contents, loader: 'ts' }
    })
  },
}

/** Below the root, so that the packages are found. */
const OUT = '.tests'

/**
 * Modules that several files share are compiled once, and stay one module within a process.
 * @param {string[]} files from the root
 * @returns {Promise<{ folder: string, compiled: string[], remove: () => void }>} paths from the root
 */
export async function compileTests(files) {
  removeLeftovers()
  const folder = join(OUT, String(process.pid))
  const remove = () => rmSync(join(root, folder), { recursive: true, force: true })
  remove()
  await build({
    absWorkingDir: root,
    entryPoints: files,
    outdir: folder,
    outbase: root,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    sourcesContent: false,
    logLevel: 'warning',
    plugins: [packagesOutside, keepPlaces],
  })
  return { folder, compiled: files.map((file) => join(folder, file.replace(/\.ts$/, '.js'))), remove }
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
  return [...names.keys()]
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
