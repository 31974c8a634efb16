const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** How long what has to be finished may take once the process is to end, in ms. */
const FINISH_MS = 5_000

/** Each with what tells it to hurry. */
const underWay = new Map<Promise<unknown>, AbortController>()
let isEnding = false

/**
 * Does what would be lost if it ended in the middle: the end of the process waits for it, and so does a signal that
 * nobody else listens for. A second signal does not.
 * @param work is told to hurry: to leave what it has not begun
 */
export async function finishing<T>(work: (hurry: AbortSignal) => Promise<T>): Promise<T> {
  if (underWay.size === 0) for (const signal of SIGNALS) process.on(signal, onSignal)
  const hurry = new AbortController()
  const done = work(hurry.signal)
  underWay.set(done, hurry)
  try {
    return await done
  } finally {
    underWay.delete(done)
    if (underWay.size === 0) letGo()
    // The signal that waited ends the process now: nothing is begun, or told, before it does.
    if (isEnding) await new Promise(() => {})
  }
}

/** Resolves when nothing is left to be finished, or when that has had its time. */
export async function finished(): Promise<void> {
  if (underWay.size === 0) return
  for (const hurry of underWay.values()) hurry.abort()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, FINISH_MS)
  })
  await Promise.race([Promise.allSettled(underWay.keys()), late])
  clearTimeout(timer)
}

function onSignal(signal: NodeJS.Signals): void {
  // Whoever listens too decides what becomes of it.
  if (process.listenerCount(signal) > 1) return
  const end = (): void => {
    letGo()
    process.kill(process.pid, signal)
  }
  if (isEnding) return end()
  isEnding = true
  void finished().then(end)
}

function letGo(): void {
  for (const signal of SIGNALS) process.off(signal, onSignal)
}
