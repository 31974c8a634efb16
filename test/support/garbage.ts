import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** The collector, whether or not the process was started with it: without it a heap says nothing. */
export const collectGarbage = (() => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
})()
