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

/** The collector of what is young alone. */
export function collectYoung(): void {
  collect({ type: 'minor' })
}
