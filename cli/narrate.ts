import type { TunnelService } from '../client/index.ts'

/** Tells a person at a terminal what becomes of the link; says nothing while all is well. */
export function narrate(tunnel: TunnelService, say: (line: string) => void): void {
  let lostFor = 0
  tunnel.on('reconnecting', ({ attempt, delayMs }) => {
    lostFor = attempt
    const wait = delayMs >= 1_000 ? ` in ${(delayMs / 1_000).toFixed(0)} s` : ''
    say(attempt === 1 ? 'link lost, resuming…' : `link lost, resuming (attempt ${attempt})${wait}…`)
  })
  tunnel.on('resumed', ({ afterMs, streams }) => {
    // A link that took over from one that lived was never missed.
    if (lostFor > 0 && streams > 0) say(`resumed after ${(afterMs / 1_000).toFixed(1)} s, nothing lost`)
    lostFor = 0
  })
}
