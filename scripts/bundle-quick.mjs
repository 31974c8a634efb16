// Bundles what `ssh` waits for into files that are loaded whole: one that decides, and one with `stdio` and `ssh`.
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundled, choosePackages, keepPlaces, preparePackages } from './bundle.mjs'
import { GUARD } from './oldest-node.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** CommonJS: Node loads it sooner, and V8 can keep what it made of it (cli/kept-code.ts). */
const FORMAT = 'cjs'
export const BANNER = "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;"

/** What stands there for what CommonJS has not. */
export const META = { 'import.meta.url': 'importMetaUrl', 'import.meta.resolve': 'require.resolve' }

/** What is in the quick program of all that is loaded when it is wanted. The rest is the whole program's (cli/quick.ts). */
const WANTED = new Set([
  'cli/commands/ssh.ts',
  'cli/commands/stdio.ts',
  'cli/login/issuer.ts',
  'cli/login/kept-login.ts',
  'client/tokens/command.ts',
  'protocol/node/dial-http.ts',
  'protocol/node/dial-websocket.ts',
  'protocol/node/http-client.ts',
])
/** Where the whole program is, from dist/cli. */
const WHOLE = 'cli/run.ts'

/**
 * @param {object} options
 * @param {(input: object) => Promise<object>} options.build esbuild's
 * @param {string} options.outdir dist/
 * @returns {ReturnType<typeof bundled>}
 */
export async function bundleQuick({ build, outdir }) {
  const common = {
    absWorkingDir: root,
    outdir,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    format: FORMAT,
    platform: 'node',
    // Names stay, so that a trace can be read.
    minifyWhitespace: true,
    minifySyntax: true,
    sourcemap: true,
    sourcesContent: false,
    define: META,
    logLevel: 'warning',
    metafile: true,
    write: false,
    plugins: [
      leaveOut(),
      choosePackages((name) => /^(proxy-from-env|ws)(\/|$)/.test(name)),
      keepPlaces('.js'),
      preparePackages(true),
    ],
  }
  const [start, quick] = await Promise.all([
    // Node 12 is to get as far as the guard: it reads the whole file before.
    build({
      ...common,
      ...{ entryPoints: { 'cli/main': 'cli/main.ts' }, target: 'node12.20', banner: { js: GUARD + BANNER } },
    }),
    build({
      ...common,
      ...{ entryPoints: { 'cli/quick': WHOLE }, target: 'node20', banner: { js: BANNER } },
    }),
  ])
  return bundled([...start.outputFiles, ...quick.outputFiles], quick.metafile, outdir)
}

/** Of what is imported when it is wanted, `WANTED` alone is inside. */
function leaveOut() {
  return {
    name: 'leave-out',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^\.\.?\// }, ({ kind, path, importer, resolveDir }) => {
        if (kind !== 'dynamic-import' || importer.includes('node_modules')) return undefined
        const file = relative(root, join(resolveDir, path))
        if (file === WHOLE) return { path: './run.js', external: true }
        return WANTED.has(file) ? undefined : { path: file.replace(/\.ts$/, ''), namespace: 'left-out' }
      })
      onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
        contents: `throw new Error(${JSON.stringify(`${path} is not in the quick program`)})`,
        loader: 'js',
      }))
    },
  }
}
