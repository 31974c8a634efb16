import type { Clock } from './clock.ts'

/** Those of plugins are not always promises of ours: a query builder's `then` may never answer either. */
function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** What `work` brings, or `late()` thrown where it brings nothing for `ms`. Work that is done at once costs no timer. */
export function inTime<T>(
  work: () => T | PromiseLike<T>,
  ms: number,
  late: () => Error,
  clock: Clock,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const working = work()
    if (!isThenable(working)) return resolve(working)
    const timer = clock.setTimer(() => reject(late()), ms)
    Promise.resolve(working)
      .then(resolve, reject)
      .finally(() => clock.clearTimer(timer))
  })
}
