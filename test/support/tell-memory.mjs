// Loaded before a program whose memory is judged: at each SIGUSR2 it collects its garbage and says what is left.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')
let told = 0

process.on('SIGUSR2', () => {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  process.stderr.write(`memory ${++told}: ${heapUsed + external} bytes\n`)
})
