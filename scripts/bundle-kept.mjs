// Bundles the command for the tests into one file whose compiled code is kept between starts (cli/kept-code.ts): they start
// it hundreds of times, and compiling it is a third of each start.
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundled, choosePackages, keepPlaces, preparePackages } from './bundle.mjs'
import { BANNER, META } from './bundle-quick.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Coverage counts what V8 has compiled for it, and a plugin that is TypeScript is loaded by modules alone: both run those beside it. */
const START = `
import { join } from 'node:path'
import { runKept } from './kept-code.ts'
const [, , word = '', ...more] = process.argv
if (process.env.NODE_V8_COVERAGE || more.includes('--plugin')) void import('./run.js')
else runKept(join(__dirname, 'whole.cjs'), join(__dirname, 'compiled'), /^[a-z-]+$/.test(word) ? word : 'other')
`

/**
 * @param {object} options
 * @param {(input: object) => Promise<object>} options.build esbuild's
 * @param {(name: string) => boolean} options.isInside whether a package is bundled as well
 * @param {string} options.outdir
 * @param {string} options.placesIn the folder below which modules look for the files beside them
 * @returns {ReturnType<typeof bundled>} `cli/kept.cjs` starts it
 */
export async function bundleKept({ build, isInside, outdir, placesIn }) {
  const common = {
    ...{ absWorkingDir: root, outdir, bundle: true, format: 'cjs', platform: 'node', target: 'node20' },
    ...{ outExtension: { '.js': '.cjs' }, logLevel: 'warning', metafile: true, write: false },
  }
  const [whole, start] = await Promise.all([
    build({
      ...common,
      entryPoints: { 'cli/whole': 'cli/run.ts' },
      // Code that was kept has lost what import() needs.
      supported: { 'dynamic-import': false },
      minifyWhitespace: true,
      minifySyntax: true,
      // One of them has an umlaut, and what is ASCII needs no decoding.
      legalComments: 'none',
      banner: { js: BANNER },
      define: META,
      plugins: [choosePackages(isInside), keepPlaces('.js'), preparePackages(false)],
    }),
    build({
      ...common,
      stdin: { contents: START, resolveDir: join(root, 'cli'), sourcefile: 'cli/kept.ts', loader: 'ts' },
      external: ['./run.js'],
    }),
  ])
  const files = [
    ...whole.outputFiles,
    ...start.outputFiles.map((file) => ({ path: join(root, outdir, 'cli', 'kept.cjs'), text: file.text })),
  ]
  return bundled(files, whole.metafile, placesIn)
}
