// Runs command lines one after the other in this process, which takes a second where a process for each takes a minute.
// Reads { dispatch, lines } as JSON from stdin: the module, and the words of each line; writes what each printed.
import { writeSync } from 'node:fs'
import { text } from 'node:stream/consumers'

const asked = JSON.parse(await text(process.stdin))
const { dispatch } = await import(asked.dispatch)
const write = process.stdout.write.bind(process.stdout)
const results = []
// What ends the process in the midst of a line, such as an answer that nothing keeps it waiting for, says so nowhere else.
process.on('exit', (code) => {
  const words = asked.lines[results.length]
  if (words !== undefined) writeSync(2, `status ${code} in the midst of: ${words.join(' ')}\n`)
})
for (const words of asked.lines) {
  const result = { code: 0, stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    process[name].write = (chunk, ...more) => {
      result[name] += chunk
      more.findLast((each) => typeof each === 'function')?.()
      return true
    }
  }
  result.code = await dispatch(words)
  results.push(result)
}
write(JSON.stringify(results), () => process.exit(0))
