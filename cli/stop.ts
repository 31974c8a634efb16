import { constants } from 'node:os'
import { isatty } from 'node:tty'
import { EXIT } from './failure.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Resolves with the first signal that asks this process to end; the next one ends it at once.
 * @param unattended without a terminal a hang-up is not for us: `nohup` asks for that, and Node has undone it
 */
export function stopSignal({ unattended = false } = {}): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false
    const onSignal = (signal: NodeJS.Signals): void => {
      if (signal === 'SIGHUP' && unattended && !isatty(0) && !isatty(1)) return
      if (asked) process.exit(1)
      asked = true
      resolve(signal)
    }
    for (const signal of SIGNALS) process.on(signal, onSignal)
  })
}

/** As a shell tells that a signal ended a program, so that a script sees the same as with a local command. */
export function signalStatus(signal: string): number {
  const number = (constants.signals as Record<string, number>)[signal]
  return number === undefined ? EXIT.remote : 128 + number
}
