const LEAST_MS = 1_000
const MOST_MS = 5_000
const UNKNOWN_MS = 3_000
const ROUND_TRIPS = 4

/** What a link is given to show that it lives, when the network may have changed, by its round trip; in ms. */
export function probeMs(rttMs: number | undefined): number {
  if (rttMs === undefined) return UNKNOWN_MS
  return Math.min(MOST_MS, Math.max(LEAST_MS, ROUND_TRIPS * rttMs))
}
