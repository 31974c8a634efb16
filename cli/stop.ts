import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { EXIT } from './failure.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Resolves with the first signal that asks this process to end; the next one ends it at once.
 * @param unattended without a terminal a hang-up is not for us: `nohup` asks for that, and Node has undone it
 * @param hurry called at the second signal, if there is such a thing; then it is the third that ends the process
 */
export function stopSignal({
  unattended = false,
  hurry,
}: {
  unattended?: boolean
  hurry?: () => void
} = {}): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = 0
    const onSignal = (signal: NodeJS.Signals): void => {
      if (signal === 'SIGHUP' && unattended && !isatty(0) && !isatty(1)) return
      asked++
      if (asked === 1) resolve(signal)
      else if (asked === 2 && hurry !== undefined) hurry()
      else process.exit(1)
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
  })
}

/** As a shell tells that a signal ended a program, so that a script sees the same as with a local command. */
export function signalStatus(signal: string): number {
  const number = (constants.signals as Record<string, number>)[signal]
  return number === undefined ? EXIT.remote : 128 + number
}
