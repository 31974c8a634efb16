import { tellAside } from './prose.ts'

/** What a terminal or a supervisor sends us is the far command's, by its SSH name (RFC 4254, section 6.10). */
const PASSED = { SIGINT: 'INT', SIGTERM: 'TERM', SIGHUP: 'HUP', SIGQUIT: 'QUIT' } as const
export type PassedSignal = keyof typeof PASSED

export interface SignalTarget {
  /** The command of ours that passes them on, for what a person is told. */
  command: string
  /** Sends a signal by its SSH name; false where that is not possible. */
  send(name: string): boolean
  /** Ends the connection, and with it sshd the far command. */
  end(): void
}

/** Passes the first signal on; one that cannot be passed on, or comes after it, ends the connection. */
export function passSignals({ command, send, end }: SignalTarget): {
  readonly first: PassedSignal | undefined
} {
  const seen: { first: PassedSignal | undefined } = { first: undefined }
  for (const [signal, name] of Object.entries(PASSED)) {
    process.on(signal, (received: PassedSignal) => {
      if (seen.first !== undefined || !send(name)) end()
      else if (process.stderr.isTTY) tellAside(`\n${command}: passed on; again ends the connection\n`)
      seen.first ??= received
    })
  }
  return seen
}
