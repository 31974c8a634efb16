import { setFlagsFromString } from 'node:v8'

/**
 * Lets the garbage collector do its marking in one go. Bulk data passes through buffers outside the heap, whose amount
 * makes V8 begin a marking in small steps, with helper threads, some 15 times a second: that cost an agent more than
 * half of its CPU time. The heap of an agent or a `stdio` is small (about 12 MiB), so that one go is a few ms.
 */
export function collectInOneGo(): void {
  setFlagsFromString('--no-incremental-marking')
}
