/**
 * What `work` brings, or `late` where it brings nothing for `ms`. Its timer keeps the process: what it waits for may have
 * nothing else that does.
 */
export function within<T>(work: Promise<T>, ms: number, late: T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(late), ms)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
