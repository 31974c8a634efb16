// Node's `spec` reporter with two additions. It names the files that were written instead of what they were compiled
// to, and when a file ends before its tests do (a hang, a crash), it names those that had begun: Node reports a test
// when it is over, so a file that is killed at its timeout would name none.
import { Readable } from 'node:stream'
import { spec } from 'node:test/reporters'
import { sourceOf } from './compile-tests.mjs'

/** @typedef {{ name: string, nesting: number, file?: string, details?: object }} TestData */

/** @param {AsyncIterable<{ type: string, data: TestData }>} events */
export default async function* testReporter(events) {
  const begun = new Map()
  async function* watched() {
    for await (const { type, data } of events) {
      const isFile = data.nesting === 0 && data.file?.endsWith(data.name)
      const key = `${data.file}\n${data.nesting}\n${data.name}`
      if (type === 'test:dequeue' && !isFile) begun.set(key, data)
      if (type === 'test:complete') begun.delete(key)
      yield { type, data: withSources(data) }
    }
  }
  yield* Readable.from(watched()).compose(new spec())
  for (const { name, file } of begun.values()) yield `✖ not finished: ${name} (${sourceOf(file)})\n`
}

/** Its `details` stay the same object: they hold the test's error. */
function withSources(data) {
  if (data === undefined) return data
  const { name, file } = data
  return { ...data, ...(file && { file: sourceOf(file) }), ...(name && { name: sourceOf(name) }) }
}
