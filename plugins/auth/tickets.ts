import { hash, randomBytes } from 'node:crypto'
import type { Json, Records } from '../state/index.ts'
import { ticketInvalid } from './errors.ts'
import type { User } from './tokens.ts'

const NAMESPACE = 'ticket'
/** How long a ticket is good for, in ms. */
const TICKET_MS = 30_000
/** Told from other secrets at sight, also by what looks for them in logs. */
const PREFIX = 'tunnel-ticket.'
const SECRET_BYTES = 24
const TICKET = /^tunnel-ticket\.[\w-]{32}$/

/**
 * Tickets for `connect?ticket=`, because browsers send no header with a WebSocket: good for one use within seconds, as the
 * user whose token asked for it and no longer than that token.
 */
export class Tickets {
  readonly #records: Records

  /** @param records need not outlive the process: a ticket is asked for again */
  constructor(records: Records) {
    this.#records = records
  }

  /** @throws {TunnelError} STATE_UNAVAILABLE */
  async make(user: User): Promise<{ ticket: string; expiresAtMs: number }> {
    const ticket = PREFIX + randomBytes(SECRET_BYTES).toString('base64url')
    await this.#records.put(NAMESPACE, keyOf(ticket), userRecord(user), { ttlMs: TICKET_MS })
    return { ticket, expiresAtMs: Date.now() + TICKET_MS }
  }

  /** Uses a ticket up. @throws {TunnelError} TICKET_INVALID, in the same words whatever is wrong with it */
  async use(ticket: string): Promise<User> {
    if (!TICKET.test(ticket)) throw ticketInvalid()
    const user = await this.#records.take(NAMESPACE, keyOf(ticket))
    if (user === undefined) throw ticketInvalid()
    return user as unknown as User
  }
}

function userRecord({ credential, ...user }: User): Json {
  return credential === undefined ? user : { ...user, credential: { ...credential } }
}

/** The ticket itself is kept nowhere. */
function keyOf(ticket: string): string {
  return hash('sha256', ticket, 'base64url')
}
