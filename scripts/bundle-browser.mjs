// Bundles the client for browsers: one ES module for a page, and a second that it loads when it keeps a first request.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { packagesIn } from './bundle.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const PROFILES = join(root, 'config', 'profiles')
/** Of a rule in the schema, what a page checks. */
const CHECKED = ['default', 'type', 'minimum', 'maximum']

/**
 * @param {object} options
 * @param {(input: object) => Promise<object>} options.build esbuild's
 * @param {object} options.schema `ClientSettings` of client/options.ts
 * @param {string} options.outdir
 * @returns {Promise<{ files: { path: string, contents: Uint8Array }[], packages: string[],
 *   gzipped: { page: number, storage: number } }>} what is to be written, the folders of the packages that are in it, and
 *   the sizes in bytes of what a page loads, and of what it loads later to keep requests
 */
export async function bundleForBrowsers({ build, schema, outdir }) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: { 'tunnel-client': 'client/web/index.ts' },
    outdir,
    // One name, so that a page may ask for it beforehand.
    chunkNames: 'tunnel-client-[name]',
    bundle: true,
    splitting: true,
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
      BUILT_SETTINGS: JSON.stringify({ rules: rulesOf(schema), profiles: profilesFor(schema) }),
    },
    logLevel: 'warning',
    metafile: true,
    write: false,
  })
  const sizeOf = (isCounted) =>
    outputFiles
      .filter(({ path }) => path.endsWith('.js') && isCounted(path))
      .reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0)
  const isStorage = (path) => path.includes('tunnel-client-tab-requests')
  const gzipped = { page: sizeOf((path) => !isStorage(path)), storage: sizeOf(isStorage) }
  return { files: outputFiles, gzipped, packages: packagesIn(metafile) }
}

function mapEntries(object, map) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value, name)]))
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
