// Bundles sources into few files: loading one module costs about a millisecond of CPU, and each start loads hundreds.
// Used for dist/ (build.mjs) and for the tests (compile-tests.mjs).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Packages with a native part, which they look for beside themselves. */
const NATIVE = /^(bufferutil|classic-level|cpu-features|utf-8-validate|.*\.node$)/
/** What a package that is bundled into an ES module calls for Node's own modules. */
const REQUIRE =
  "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);"
/** Stands for the way from the written file to the root of the bundle, which is known when all are written. */
const TO_ROOT = '@to-root@'

/**
 * @param {object} options
 * @param {(input: object) => Promise<object>} options.build esbuild's
 * @param {string[]} options.entryPoints from the root of the repository; each is written at its own place, as .js
 * @param {string} options.outdir
 * @param {string} options.placesIn the folder below which modules look for the files beside them, as if not bundled
 * @param {string} options.placesAs '.js' or '.ts': what they are called there
 * @param {boolean} options.isMovable whether what is written may be moved, so that it names no path of this computer
 * @param {(name: string) => boolean} options.isInside whether a package that our sources import is bundled as well
 * @returns {Promise<{ files: string[], packages: string[], write: () => void }>} absolute paths of what is to be written,
 *   and the folders of the packages that are in it
 */
export async function bundle({ build, entryPoints, outdir, placesIn, placesAs, isMovable, isInside }) {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints,
    outdir,
    outbase: root,
    chunkNames: 'chunks/[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    sourcesContent: false,
    banner: { js: REQUIRE },
    logLevel: 'warning',
    metafile: true,
    write: false,
    plugins: [choosePackages(isInside), keepPlaces(placesAs), preparePackages(isMovable)],
  })
  return bundled(outputFiles, metafile, placesIn)
}

/** What `bundle` answers with. */
export function bundled(outputFiles, metafile, placesIn) {
  return {
    files: outputFiles.map(({ path }) => path),
    packages: packagesIn(metafile),
    write: () => {
      for (const { path, text } of outputFiles) {
        mkdirSync(dirname(path), { recursive: true })
        writeFileSync(path, text.replaceAll(TO_ROOT, relative(dirname(path), placesIn) || '.'))
      }
    },
  }
}

/** The folders of the packages that are in a bundle. */
export function packagesIn({ inputs }) {
  const packages = Object.keys(inputs).flatMap(
    (path) => /.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [],
  )
  return [...new Set(packages)].map((folder) => join(root, folder))
}

/** Marks a question of ours to esbuild, which asks us again. */
const ASKED = Symbol('asked')

/** Inside are what our sources ask for and `isInside` names, with all that it needs itself; never what is native. */
export function choosePackages(isInside) {
  return {
    name: 'choose-packages',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /^[^./]|\.node$/ }, async ({ kind, path, importer, resolveDir, pluginData }) => {
        if (kind === 'entry-point' || pluginData === ASKED) return undefined
        if (NATIVE.test(path))
          return { path: path.startsWith('.') ? join(resolveDir, path) : path, external: true }
        if (!importer.includes('node_modules')) return isInside(path) ? undefined : { path, external: true }
        // A package may name one that it can do without.
        const found = await resolve(path, { kind, importer, resolveDir, pluginData: ASKED })
        return found.errors.length > 0 ? { path, external: true } : found
      })
    },
  }
}

/** Modules find the files beside them, and start others from there, as if each were in its own place. */
export function keepPlaces(extension) {
  return {
    name: 'keep-places',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const source = readFileSync(path, 'utf8')
        if (path.includes('node_modules') || !source.includes('import.meta.')) return undefined
        const file = relative(root, path).replace(/\.ts$/, extension)
        const place = (name) => `new URL(${JSON.stringify(`${TO_ROOT}/${name}`)}, import.meta.url)`
        const places = {
          url: `${place(file)}.href`,
          dirname: `pathOfUrl(${place(dirname(file))})`,
          filename: `pathOfUrl(${place(file)})`,
        }
        const contents = source.replace(
          /\bimport\.meta\.(url|dirname|filename)\b/g,
          (_, name) => places[name],
        )
        return {
          contents: contents.replace(
            /^(#!.*\n)?/,
            (line) => `${line}import { fileURLToPath as pathOfUrl } from 'node:url'; `,
          ),
          loader: 'ts',
        }
      })
    },
  }
}

/** A class that ssh2 knows by its name, which esbuild changes: a session without a channel would throw when its socket closes. */
const SESSION_OF_SSH2 = 'class Session extends EventEmitter {'

/** Packages know their folder, and are not in our source maps, which Node reads at each start. */
export function preparePackages(isMovable) {
  const none = Buffer.from('{"version":3,"sources":[""],"mappings":"A"}').toString('base64')
  return {
    name: 'prepare-packages',
    setup({ onLoad }) {
      onLoad({ filter: /node_modules.*\.[cm]?js$/ }, ({ path }) => {
        const places = { __dirname: JSON.stringify(dirname(path)), __filename: JSON.stringify(path) }
        const source = readFileSync(path, 'utf8')
        const named = source.replace(SESSION_OF_SSH2, `${SESSION_OF_SSH2} static name = 'Session';`)
        const placed = isMovable ? named : named.replace(/\b__(dirname|filename)\b/g, (name) => places[name])
        return {
          contents: `${placed}\n//# sourceMappingURL=data:application/json;base64,${none}`,
          loader: 'js',
        }
      })
    },
  }
}
