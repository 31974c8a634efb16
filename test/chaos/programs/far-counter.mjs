// The far end of the counter: echoes each line it is given and writes it to a file, and counts on its own meanwhile,
// saying when.
// Run on the machine as `node far-counter.mjs FILE GAP_MS PAD`; the line `over` ends it.
import { createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'

const [file, gapMs, pad] = process.argv.slice(2)
const typed = createWriteStream(file)
const padding = 'x'.repeat(Number(pad))
let own = 0

const timer = setInterval(() => {
  // A full pipe means that nobody reads: counting on would only fill memory.
  if (process.stdout.writableLength === 0)
    process.stdout.write(`own ${++own} ${padding} ${performance.timeOrigin + performance.now()}\n`)
}, Number(gapMs))

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'over') {
      clearInterval(timer)
      process.stdout.write(`over ${own}\n`)
    } else {
      typed.write(`${line}\n`)
      process.stdout.write(`echo ${line}\n`)
    }
  })
  .on('close', () => {
    clearInterval(timer)
    typed.end()
  })
