import type { StreamDuplex, TunnelService } from '../client/index.ts'

/** How long a stream may take to find its other end over a new link before that is worth a word, in ms. */
const PATIENCE_MS = 1_000

/** Tells a person at a terminal what becomes of the session's path; says nothing while all is well. */
export function narrate(
  tunnel: TunnelService,
  stream: StreamDuplex,
  machine: string,
  say: (line: string) => void,
): void {
  let lostAtMs: number | undefined
  let waiting: NodeJS.Timeout | undefined
  const lost = (): void => {
    lostAtMs ??= performance.now()
  }
  tunnel.on('reconnecting', ({ attempt, delayMs }) => {
    clearTimeout(waiting)
    lost()
    const wait = delayMs >= 1_000 ? ` in ${(delayMs / 1_000).toFixed(0)} s` : ''
    say(attempt === 1 ? 'link lost, resuming…' : `link lost, resuming (attempt ${attempt})${wait}…`)
  })
  tunnel.on('resumed', () => {
    waiting = setTimeout(() => say(`the proxy is there again, waiting for ${machine}…`), PATIENCE_MS)
    waiting.unref()
  })
  stream.on('suspended', () => {
    const isFirst = lostAtMs === undefined
    lost()
    // With the link gone as well, that is told instead.
    setImmediate(() => {
      if (isFirst && tunnel.state === 'connected') say(`${machine} is off line, waiting for it…`)
    }).unref()
  })
  stream.on('resumed', () => {
    clearTimeout(waiting)
    // A stream that moved from one link to another was never missed.
    if (lostAtMs === undefined) return
    say(`resumed after ${((performance.now() - lostAtMs) / 1_000).toFixed(1)} s, nothing lost`)
    lostAtMs = undefined
  })
  stream.on('close', () => clearTimeout(waiting))
}
