// A reporter beside `spec`: when a file ends before its tests do (a hang, a crash), it names those that had begun.
// Node reports a test when it is over, so a file that is killed at its timeout would name none.

/** @param {AsyncIterable<{ type: string, data: { name: string, nesting: number, file?: string } }>} events */
export default async function* unfinishedTests(events) {
  const begun = new Map()
  for await (const { type, data } of events) {
    const isFile = data.nesting === 0 && data.file?.endsWith(data.name)
    const key = `${data.file}\n${data.nesting}\n${data.name}`
    if (type === 'test:dequeue' && !isFile) begun.set(key, data)
    if (type === 'test:complete') begun.delete(key)
  }
  for (const { name, file } of begun.values()) yield `✖ not finished: ${name} (${file})\n`
}
