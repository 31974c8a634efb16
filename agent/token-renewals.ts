import type { Connection } from '../dial/connection.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import type { AgentLog } from './options.ts'

/** How often a token that the proxy has refused is read again, in ms. */
const RENEW_MS = 5_000

/** Dials with a token that is read again: its renewal may be late, and there may be no one to start the agent again. */
export class TokenRenewals {
  readonly #log: AgentLog
  readonly #dial: (connection: Connection) => void
  readonly #timers = new Map<Connection, NodeJS.Timeout>()

  /** @param dial dials `connection` again; what fails comes back to `later` */
  constructor(log: AgentLog, dial: (connection: Connection) => void) {
    this.#log = log
    this.#dial = dial
  }

  later(connection: Connection, error: TunnelError): void {
    if (this.#timers.has(connection)) return
    const seconds = RENEW_MS / 1_000
    this.#log('error', `${error.message}; the token is read again in ${seconds} s`, { code: error.code })
    // Not unref'd: it may be all that this process has left to do.
    const timer = setTimeout(() => {
      this.#timers.delete(connection)
      this.#dial(connection)
    }, RENEW_MS)
    this.#timers.set(connection, timer)
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer)
    this.#timers.clear()
  }
}
