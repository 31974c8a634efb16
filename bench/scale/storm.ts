import { Value } from 'typebox/value'
import { DIAL_MS } from '../../dial/dialler.ts'
import { BackoffOptions } from '../../dial/options.ts'

export interface Return {
  /** Until half of the links are back, and all, in s. */
  halfSeconds: number
  allSeconds: number
  /** Of all dials the share that nobody answered in time. */
  inVain: number
}

/** Dials of one moment. */
interface Wave {
  atStep: number
  /** That each of them had before. */
  failures: number
  count: number
}

const STEP_MS = 250
const PATIENCE = DIAL_MS / STEP_MS
const BACKOFF = Value.Create(BackoffOptions)
/** From so many failures on no wait is longer. */
const MOST_FAILURES = Math.ceil(Math.log(BACKOFF.maxMs / BACKOFF.baseMs) / Math.log(BACKOFF.multiplier))

/**
 * Links that are all cut at once are dialled at once, taken in turn, and given up after `DIAL_MS`; who gave up dials
 * again after its backoff. Waves are followed rather than single dials; one that is given up costs nothing.
 */
export function comeBack(links: number, linksPerSecond: number): Return {
  const perStep = (linksPerSecond * STEP_MS) / 1_000
  const due = new Map([[0, [links]]])
  let queue: Wave[] = []
  let taken = 0
  let inVain = 0
  let halfSeconds = 0
  for (let step = 0; ; step++) {
    for (const wave of queue.filter(({ atStep }) => step - atStep >= PATIENCE)) {
      inVain += wave.count
      dialAgain(due, wave, step)
    }
    queue = queue.filter(({ atStep, count }) => step - atStep < PATIENCE && count > 0)
    for (const [failures, count] of due.get(step)?.entries() ?? [])
      queue.push({ atStep: step, failures, count })
    due.delete(step)
    let room = perStep
    for (const wave of queue) {
      const now = Math.min(room, wave.count)
      wave.count -= now
      room -= now
      taken += now
    }
    const seconds = ((step + 1) * STEP_MS) / 1_000
    if (halfSeconds === 0 && taken >= links / 2) halfSeconds = seconds
    // Fractions of a link are none.
    if (links - taken < 1) return { halfSeconds, allSeconds: seconds, inVain: inVain / (inVain + links) }
  }
}

/** Adds them to what is due, by the number of their failures, spread by the jitter (dial/backoff.ts). */
function dialAgain(due: Map<number, number[]>, { failures, count }: Wave, step: number): void {
  const { baseMs, multiplier, jitter, maxMs } = BACKOFF
  const plainMs = Math.min(maxMs, baseMs * multiplier ** failures)
  const first = Math.round((plainMs * (1 - jitter)) / STEP_MS)
  const last = Math.round((plainMs * (1 + jitter)) / STEP_MS)
  const failed = Math.min(MOST_FAILURES, failures + 1)
  for (let wait = first; wait <= last; wait++) {
    const then = due.get(step + wait) ?? Array.from({ length: MOST_FAILURES + 1 }, () => 0)
    then[failed] = (then[failed] ?? 0) + count / (last - first + 1)
    due.set(step + wait, then)
  }
}
