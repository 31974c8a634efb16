import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** One of our modules for a program that a test writes and starts; scripts/compile-tests.mjs lists those there are. */
export function compiledModule(source: string): string {
  const folder = process.env.TUNNEL_TEST_COMPILED
  if (folder === undefined) throw new Error('this test is run by npm test')
  return pathToFileURL(join(folder, source.replace(/\.ts$/, '.js'))).href
}
