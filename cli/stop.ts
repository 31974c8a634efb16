import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { EXIT } from './failure.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Resolves with the first signal that asks this process to end; the next one ends it at once.
 * @param unattended what shows nothing on a terminal has none to lose, and a hang-up is not for it: `nohup` asks for
 *   that, and Node has undone it
 * @param hangUp called instead at a hang-up that is not for us
 * @param hurry called at the second signal, if there is such a thing; then it is the third that ends the process
 */
export function stopSignal({
  unattended = false,
  hangUp,
  hurry,
}: {
  unattended?: boolean
  hangUp?: () => void
  hurry?: () => void
} = {}): Promise<NodeJS.Signals> {
  // Asked now: once it was closed, a terminal is none. nohup takes both outputs from it, and not everywhere the input.
  const shown = isatty(1) || isatty(2)
  return new Promise((resolve) => {
    let asked = 0
    const onSignal = (signal: NodeJS.Signals): void => {
      if (signal === 'SIGHUP' && unattended && !shown) return hangUp?.()
      asked++
      if (asked === 1) resolve(signal)
      else if (asked === 2 && hurry !== undefined) hurry()
      else process.exit(1)
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
  })
}

/**
 * Answers as `work` does, or with the status of the signal that ended it before.
 * @param abort is told to give up at the first signal
 * @param graceMs how long `work` then has to end, asked for at the signal
 */
export async function untilStopped(
  work: Promise<number>,
  abort: AbortController,
  graceMs: () => number,
): Promise<number> {
  const stopped = stopSignal()
  const signal = await Promise.race([work.then(nothing, nothing), stopped])
  if (signal === undefined) return work
  abort.abort()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, graceMs())
  })
  await Promise.race([work.catch(nothing), late])
  clearTimeout(timer)
  return signalStatus(signal)
}

function nothing(): undefined {}

/** As `work` does, or rejects with its reason once `stop` is aborted; `work` is then left to itself. */
export async function unlessStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T> {
  let onAbort = (): void => {}
  const stopped = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(stop.reason)
    stop.addEventListener('abort', onAbort)
    if (stop.aborted) onAbort()
  })
  try {
    return await Promise.race([work, stopped])
  } finally {
    stop.removeEventListener('abort', onAbort)
  }
}

/** Does what cannot be done again, to its end: a signal that asks this process to end is let pass meanwhile. */
export async function unstopped<T>(work: () => Promise<T>): Promise<T> {
  const letPass = (): void => {}
  for (const signal of SIGNALS) process.on(signal, letPass)
  try {
    return await work()
  } finally {
    for (const signal of SIGNALS) process.off(signal, letPass)
  }
}

/** As a shell tells that a signal ended a program, so that a script sees the same as with a local command. */
export function signalStatus(signal: string): number {
  const number = (constants.signals as Record<string, number>)[signal]
  return number === undefined ? EXIT.remote : 128 + number
}
