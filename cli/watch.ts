import { setTimeout as delay } from 'node:timers/promises'
import { TunnelError } from '../protocol/codec/errors.ts'
import { EXIT } from './failure.ts'
import { visible } from './output.ts'
import { tell } from './prose.ts'
import { stopSignal } from './stop.ts'

/** Between two looks, in ms. */
const LOOK_MS = 2_000
const HOME_AND_CLEAR = '\u001b[H\u001b[2J'

/** What is shown of each look, which may be the same as before. */
interface Shown<T> {
  look: () => Promise<T>
  /** One JSON value a line, or text. */
  json: boolean
  text: (seen: T) => string
}

/**
 * Shows what `look` finds until Ctrl-C: on a terminal it is drawn anew, elsewhere told whenever it has changed. A proxy
 * that is away for a while ends it only at the first look.
 * @throws {TunnelError}
 */
export async function watch<T>({ look, json, text }: Shown<T>): Promise<number> {
  const over = new AbortController()
  const stopped = stopSignal().then(() => over.abort())
  const isDrawn = process.stdout.isTTY === true && !json
  let last: string | undefined
  while (!over.signal.aborted) {
    const found = await Promise.race([seen(look, last === undefined), stopped])
    if (found === undefined) break
    const state = JSON.stringify(found)
    const told = tellable(found, { json, text })
    if (isDrawn) tell(`${HOME_AND_CLEAR}${told}\n${new Date().toTimeString().slice(0, 8)}, Ctrl-C ends\n`)
    else if (state !== last) process.stdout.write(last === undefined || json ? told : `\n${told}`)
    last = state
    // It rejects when it is cut short, which the loop sees.
    await delay(LOOK_MS, undefined, { signal: over.signal }).catch(() => {})
  }
  return EXIT.ok
}

async function seen<T>(
  look: () => Promise<T>,
  isFirst: boolean,
): Promise<{ value: T } | { error: TunnelError }> {
  try {
    return { value: await look() }
  } catch (error) {
    if (isFirst || !(error instanceof TunnelError) || !/^(network|server)$/.test(error.category)) throw error
    return { error }
  }
}

function tellable<T>(
  found: { value: T } | { error: TunnelError },
  { json, text }: Pick<Shown<T>, 'json' | 'text'>,
): string {
  if ('value' in found) return json ? `${JSON.stringify(found.value)}\n` : text(found.value)
  const { code, message } = found.error
  return json ? `${JSON.stringify({ error: { code, message } })}\n` : `${visible(message)} (${code})\n`
}
