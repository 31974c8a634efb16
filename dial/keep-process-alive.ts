/** The longest that an interval may be (2^31 - 1 ms, in round numbers); it never has to fire. */
const LONG_MS = 2 ** 30

/** Our timers let a process end; while `work` is under way somebody waits for it, and the process stays. */
export async function keepProcessAlive<T>(work: () => Promise<T>): Promise<T> {
  const interval = setInterval(() => {}, LONG_MS)
  try {
    return await work()
  } finally {
    clearInterval(interval)
  }
}
