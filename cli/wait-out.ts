import { setTimeout as delay } from 'node:timers/promises'
import { TunnelError } from '../protocol/codec/errors.ts'

/** How long a command waits in all because it is told to come back later, in ms. */
const MAX_WAIT_MS = 30_000

/**
 * Tries again what was refused with a time after which it may succeed: a hundred parallel commands are let in one after
 * the other. Only for what was not begun when it is refused.
 * @throws {TunnelError} what the last try was refused with
 */
export async function waitOut<T>(attempt: () => Promise<T>, say: (line: string) => void): Promise<T> {
  const deadlineMs = performance.now() + MAX_WAIT_MS
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      // A machine that is off line rarely comes back within seconds: the user wants to know at once.
      if (!(error instanceof TunnelError) || error.category !== 'server') throw error
      if (error.retryAfterMs === undefined) throw error
      // Spread: many may have been told the same.
      const waitMs = Math.max(100, error.retryAfterMs) * (1 + Math.random() / 4)
      if (performance.now() + waitMs > deadlineMs) throw error
      say(`${error.message}; trying again in ${Math.ceil(waitMs / 1_000)} s`)
      await delay(waitMs)
    }
  }
}
