import { setTimeout as delay } from 'node:timers/promises'
import { seededRandom } from '../support/random.ts'

/** Gaps between events that come at random moments with this mean, in ms: the same for the same seed. */
export function* randomGaps(seed: number, meanMs: number): Generator<number, never> {
  const random = seededRandom(seed)
  while (true) yield -Math.log(1 - random()) * meanMs
}

/** Waits, or less when `signal` comes first. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Does `act` after each gap, one at a time, until `signal`; rejects with what `act` throws. */
export async function repeat(
  gaps: Iterator<number, never>,
  signal: AbortSignal,
  act: () => unknown,
): Promise<void> {
  while (!signal.aborted) {
    await pause(gaps.next().value, signal)
    if (!signal.aborted) await act()
  }
}
