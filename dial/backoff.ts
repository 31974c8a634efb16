import type { BackoffOptions } from './options.ts'

/** As `maxAttempts`: there never are as many. */
export const NEVER_GIVE_UP = 1_000_000

/**
 * How long to wait before the next dial after `failures` failed ones in a row, in ms. None have failed: at once.
 * @param random a number in [0, 1)
 */
export function backoffMs(
  failures: number,
  options: BackoffOptions,
  random: () => number = Math.random,
): number {
  if (failures <= 0) return 0
  const { baseMs, multiplier, jitter, maxMs } = options
  const plainMs = Math.min(maxMs, baseMs * multiplier ** (failures - 1))
  return Math.round(plainMs * (1 + jitter * (2 * random() - 1)))
}
