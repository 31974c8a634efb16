// Bundles the client for browsers: an ES module for a page, with parts that it loads when they are used for the first time;
// and all of it in one file.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { packagesIn } from './bundle.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const PROFILES = join(root, 'config', 'profiles')
/** Of a rule in the schema, what a page checks. */
const CHECKED = ['type', 'minimum', 'maximum']
/** What a page has in place of modules for programs; each has the same interface. One may load what it stands for. */
const IN_PAGES = new Map([
  ['client/queue/forwarding.ts', 'client/web/forwarding.ts'],
  ['protocol/link/requests.ts', 'protocol/web/requests.ts'],
  ['protocol/link/connection-failure.ts', 'protocol/web/connection-failure.ts'],
  ['protocol/codec/suggestions.ts', 'protocol/web/suggestions.ts'],
])
const ENTRY = 'client/web/index.ts'
/** All in one file. */
const WHOLE = 'tunnel-client-whole'

/**
 * @param {object} options
 * @param {(input: object) => Promise<object>} options.build esbuild's
 * @param {object} options.schema `ClientSettings` of client/options.ts
 * @param {string} options.outdir
 * @returns {Promise<{ files: { path: string, contents: Uint8Array }[], packages: string[],
 *   gzipped: { page: number, storage: number, whole: number } }>} what is to be written, the folders of the packages that
 *   are in it, and the sizes in bytes: of what a page loads, of what it loads later to keep requests, and of the one file
 */
export async function bundleForBrowsers({ build, schema, outdir }) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const profiles = profilesFor(schema)
  const options = {
    absWorkingDir: root,
    outdir,
    // One name, so that a page may ask for it beforehand.
    chunkNames: 'tunnel-client-[name]',
    bundle: true,
    format: 'esm',
    // Node's own modules are errors here.
    platform: 'browser',
    target: ['es2022', 'chrome111', 'firefox115', 'safari16.4'],
    minify: true,
    legalComments: 'none',
    sourcemap: true,
    sourcesContent: true,
    define: {
      BUILT_VERSION: JSON.stringify(version),
      BUILT_DEFAULTS: JSON.stringify(
        mapEntries(defaultsOf(schema), (section, name) => ({ ...section, ...profiles.default[name] })),
      ),
      // Of an object esbuild would make a module that the page loads.
      BUILT_PROFILES: JSON.stringify(JSON.stringify(profiles)),
      BUILT_RULES: JSON.stringify(JSON.stringify(rulesOf(schema))),
    },
    logLevel: 'warning',
    metafile: true,
    write: false,
  }
  const parts = { ...options, entryPoints: { 'tunnel-client': ENTRY }, splitting: true }
  const whole = { ...options, entryPoints: { [WHOLE]: ENTRY } }
  const built = await Promise.all([
    build({ ...parts, plugins: [forPages, oneShared] }),
    build({ ...whole, plugins: [forPages] }),
  ])
  const outputFiles = built.flatMap(({ outputFiles }) => outputFiles)
  const sizeOf = (...names) =>
    outputFiles
      .filter(({ path }) => names.includes(relative(outdir, path)))
      .reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0)
  const gzipped = {
    page: sizeOf('tunnel-client.js', 'tunnel-client-chunk.js'),
    storage: sizeOf('tunnel-client-tab-requests.js'),
    whole: sizeOf(`${WHOLE}.js`),
  }
  return { files: outputFiles, gzipped, packages: packagesIn(built[0].metafile) }
}

const forPages = {
  name: 'for-pages',
  setup({ onResolve }) {
    onResolve({ filter: /^\..*\.ts$/ }, ({ path, resolveDir, importer }) => {
      const inPage = IN_PAGES.get(relative(root, join(resolveDir, path)))
      if (inPage === undefined || importer === join(root, inPage)) return undefined
      return { path: join(root, inPage) }
    })
  },
}

/**
 * What a later part shares with the page is in one file with all that the page has, because small files compress badly:
 * for that each part is made to depend on all of it.
 */
const oneShared = {
  name: 'one-shared',
  setup({ onResolve, onLoad }) {
    const parts = new Set()
    onResolve({ filter: /\.ts$/ }, ({ kind, path, resolveDir }) => {
      if (kind === 'dynamic-import') parts.add(join(resolveDir, path))
    })
    onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (!parts.has(path)) return undefined
      const contents = `${readFileSync(path, 'utf8')}\nimport ${JSON.stringify(join(root, ENTRY))}`
      return { contents, loader: 'ts' }
    })
  },
}

function mapEntries(object, map) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value, name)]))
}

function defaultsOf(schema) {
  return mapEntries(schema.properties, (section) =>
    mapEntries(section.properties, ({ default: value }) => value),
  )
}

function rulesOf(schema) {
  return mapEntries(schema.properties, (section) =>
    mapEntries(section.properties, (rule) => ({
      ...Object.fromEntries(CHECKED.filter((name) => name in rule).map((name) => [name, rule[name]])),
      ...(rule.anyOf && { choices: rule.anyOf.map((choice) => choice.const) }),
    })),
  )
}

/** Of each profile what a client follows. */
function profilesFor(schema) {
  const profiles = readdirSync(PROFILES).map((file) => {
    const profile = JSON.parse(readFileSync(join(PROFILES, file), 'utf8'))
    const sections = Object.entries(profile).flatMap(([name, section]) => {
      const known = schema.properties[name]?.properties ?? {}
      const settings = Object.entries(section).filter(([setting]) => setting in known)
      return settings.length === 0 ? [] : [[name, Object.fromEntries(settings)]]
    })
    return [file.replace(/\.json$/, ''), Object.fromEntries(sections)]
  })
  return Object.fromEntries(profiles)
}
