import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** Set by scripts/test.mjs, which compiles the sources listed in scripts/compile-tests.mjs. */
const folder = process.env.TUNNEL_TEST_COMPILED

/** One of our modules for a program that a test writes and starts. */
export function compiledModule(source: string): string {
  if (folder === undefined) throw new Error('this test is run by npm test')
  return pathToFileURL(join(folder, source.replace(/\.ts$/, '.js'))).href
}

/** What Node is given to run one of our programs: compiled under `npm test`, by tsx elsewhere. */
export function programWords(source: string): string[] {
  if (folder === undefined)
    return ['--import', 'tsx', fileURLToPath(new URL(`../../${source}`, import.meta.url))]
  return [fileURLToPath(compiledModule(source))]
}
