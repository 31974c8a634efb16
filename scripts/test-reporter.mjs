// Node's `spec` reporter with two additions. It names the files and lines that were written instead of what they were
// compiled to, and when a file ends before its tests do (a hang, a crash), it names those that had begun: Node reports a test
// when it is over, so a file that is killed at its timeout would name none.
import { Readable } from 'node:stream'
import { spec } from 'node:test/reporters'
import { sourceOf } from './compile-tests.mjs'
import { sourcePlace, withSourcePlaces } from './source-places.mjs'

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
  for await (const text of Readable.from(watched()).compose(new spec())) yield withSourcePlaces(String(text))
  for (const { name, file } of begun.values()) yield `✖ not finished: ${name} (${sourceOf(file)})\n`
}

/** Its `details` stay the same object: they hold the test's error. */
function withSources(data) {
  if (data === undefined) return data
  const { name, file, line, column } = data
  const place = file && line && sourcePlace(file, line, column)
  return { ...data, ...(file && { file: sourceOf(file) }), ...place, ...(name && { name: sourceOf(name) }) }
}
