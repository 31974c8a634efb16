import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** How long a program has run before it is worth a collection, in ms: `ssh` waits for each start, and most end before. */
const SETTLED_MS = 1_000

/**
 * Lets the garbage collector do its marking in one go. Bulk data passes through buffers outside the heap, whose amount
 * makes V8 begin a marking in small steps, with helper threads, some 15 times a second: that cost an agent more than
 * half of its CPU time. The heap of an agent or a `stdio` is small (about 12 MiB), so that one go is a few ms.
 */
export function collectInOneGo(): void {
  setTimeout(switchOver, SETTLED_MS).unref()
}

/** In the midst of a marking in steps the switch can make V8 end the process. A collection of everything ends that first. */
function switchOver(): void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What is compiled can be kept for the flags that a start has alone (cli/kept-code.ts).
  setFlagsFromString('--no-expose-gc')
  collect()
  setFlagsFromString('--no-incremental-marking')
}
