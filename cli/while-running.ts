const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Runs what must not outlive this process, such as a program that was started: its signal is given when the process
 * ends, whether the command that runs ends it or a signal that nobody else listens for.
 */
export async function whileRunning<T>(work: (over: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController()
  const end = (): void => over.abort()
  const onSignal = (signal: NodeJS.Signals): void => {
    // Whoever listens too decides what becomes of it.
    if (process.listenerCount(signal) > 1) return
    end()
    release()
    process.kill(process.pid, signal)
  }
  const release = (): void => {
    process.off('exit', end)
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
  process.on('exit', end)
  for (const signal of SIGNALS) process.on(signal, onSignal)
  try {
    return await work(over.signal)
  } finally {
    release()
  }
}
