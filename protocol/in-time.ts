import type { Clock } from './clock.ts'

/** What `work` brings, or `late()` thrown where it brings nothing for `ms`. Work that is done at once costs no timer. */
export function inTime<T>(
  work: () => T | Promise<T>,
  ms: number,
  late: () => Error,
  clock: Clock,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const working = work()
    if (!(working instanceof Promise)) return resolve(working)
    const timer = clock.setTimer(() => reject(late()), ms)
    working.then(resolve, reject).finally(() => clock.clearTimer(timer))
  })
}
