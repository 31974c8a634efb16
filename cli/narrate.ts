import type { StreamDuplex, TunnelService } from '../client/index.ts'
import { byteText } from './output.ts'

/** How long a stream may take to find its other end over a new link before that is worth a word, in ms. */
const PATIENCE_MS = 1_000

interface Audience {
  say(line: string): void
  over(): void
}

/** Tells a person at a terminal what becomes of the session's path; says nothing while all is well. */
export function narrate(
  tunnel: TunnelService,
  stream: StreamDuplex,
  machine: string,
  audience: Audience,
): void {
  const say = (line: string): void => audience.say(line)
  let lostAtMs: number | undefined
  let waiting: NodeJS.Timeout | undefined
  const lost = (): void => {
    lostAtMs ??= performance.now()
  }
  tunnel.on('reconnecting', ({ attempt, delayMs }) => {
    clearTimeout(waiting)
    lost()
    if (attempt === 1) return say(`${machine}: link lost, resuming… (Enter ~ . gives up)`)
    const wait = delayMs >= 1_000 ? `next try in ${(delayMs / 1_000).toFixed(0)} s` : 'trying again'
    say(`${machine}: link lost, ${wait} (Enter tries now, Enter ~ . gives up)`)
  })
  tunnel.on('reconnected', () => {
    waiting = setTimeout(() => say(`the proxy is there again, waiting for ${machine}…`), PATIENCE_MS)
    waiting.unref()
  })
  stream.on('suspended', () => {
    const isFirst = lostAtMs === undefined
    lost()
    // With the link gone as well, that is told instead.
    setImmediate(() => {
      if (isFirst && tunnel.state === 'connected')
        say(`${machine} is off line, waiting for it… (Enter ~ . gives up)`)
    }).unref()
  })
  stream.on('resumed', (replayedBytes) => {
    clearTimeout(waiting)
    // A stream that moved from one link to another was never missed.
    if (lostAtMs === undefined) return
    const seconds = ((performance.now() - lostAtMs) / 1_000).toFixed(1)
    const again = replayedBytes > 0 ? ` (${byteText(replayedBytes)} sent again)` : ''
    say(`${machine}: resumed after ${seconds} s, nothing lost${again}`)
    lostAtMs = undefined
    audience.over()
  })
  stream.on('close', () => {
    clearTimeout(waiting)
    audience.over()
  })
}
