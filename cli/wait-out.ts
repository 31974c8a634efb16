import { setTimeout as delay } from 'node:timers/promises'
import { TunnelError } from '../protocol/codec/errors.ts'

/** How long a command waits in all because it is told to come back later, in ms. */
const PATIENCE_MS = 30_000
/** The same for `stdio`: ssh gives its ProxyCommand as long as it takes, and sshd two minutes for a login (LoginGraceTime). */
export const SSH_PATIENCE_MS = 120_000

export interface WaitOptions {
  /** What is tried is a dial: a proxy that does not answer in time may be busy with a hundred others. @default false */
  isDial?: boolean
  /** How long it is tried, in ms. @default 30 s */
  patienceMs?: number | undefined
}

/** Before a proxy that did not answer is tried again, in ms. */
const UNANSWERED_MS = 500

/**
 * Tries again what was refused with a time after which it may succeed: a hundred parallel commands are let in one after
 * the other. Only for what was not begun when it is refused.
 * @throws {TunnelError} what the last try was refused with
 */
export async function waitOut<T>(
  attempt: () => Promise<T>,
  say: (line: string) => void,
  { isDial = false, patienceMs = PATIENCE_MS }: WaitOptions = {},
): Promise<T> {
  const deadlineMs = performance.now() + patienceMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      const askedMs = retryAfterMs(error, isDial)
      if (!(error instanceof TunnelError) || askedMs === undefined) throw error
      // Spread: many may have been told the same.
      const waitMs = Math.max(100, askedMs) * (1 + Math.random() / 4)
      if (performance.now() + waitMs > deadlineMs) throw error
      say(`${error.message}; trying again in ${Math.ceil(waitMs / 1_000)} s`)
      await delay(waitMs)
    }
  }
}

function retryAfterMs(error: unknown, isDial: boolean): number | undefined {
  if (!(error instanceof TunnelError)) return undefined
  if (isDial && error.code === 'TIMEOUT') return UNANSWERED_MS
  // A machine that is off line rarely comes back within seconds: the user wants to know at once.
  return error.category === 'server' ? error.retryAfterMs : undefined
}
