import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const collect = (() => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as (how?: { type: 'minor' }) => void
})()

/** The collector, whether or not the process was started with it: without it a heap says nothing. */
export function collectGarbage(): void {
  collect()
}

/** What the buffers of this process hold when garbage is gone, in bytes: some are only freed in the turn after. */
export async function heldBufferBytes(): Promise<number> {
  for (let turn = 0; turn < 3; turn++) {
    collect()
    await new Promise(setImmediate)
  }
  return process.memoryUsage().arrayBuffers
}

/** The collector of what is young alone. */
export function collectYoung(): void {
  collect({ type: 'minor' })
}
