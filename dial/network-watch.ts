import { networkInterfaces } from 'node:os'

const LOOK_EVERY_MS = 1_000
/** How late a look may come before it means that the machine has slept, in ms. */
const SLEPT_MS = 5_000

/** This machine's addresses, as text that differs when they do. */
export function addresses(): string {
  return Object.entries(networkInterfaces())
    .flatMap(([name, list]) =>
      (list ?? []).map(({ address, internal }) => (internal ? '' : `${name} ${address}`)),
    )
    .filter((line) => line !== '')
    .sort()
    .join()
}

/**
 * Calls `changed` when this machine's addresses are others than before, or when it has slept: links may be dead, and
 * nothing will say so for a long time. Returns what ends the watch. Keeps no process alive.
 */
export function watchNetwork(
  changed: () => void,
  look = addresses,
  now: () => number = Date.now,
): () => void {
  let before = look()
  let lookedAtMs = now()
  const timer = setInterval(() => {
    const after = look()
    const slept = now() - lookedAtMs > LOOK_EVERY_MS + SLEPT_MS
    lookedAtMs = now()
    if (after === before && !slept) return
    before = after
    changed()
  }, LOOK_EVERY_MS)
  timer.unref()
  return () => clearInterval(timer)
}
