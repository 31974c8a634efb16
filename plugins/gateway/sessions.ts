import { hash, randomBytes } from 'node:crypto'
import { readMachine } from '../../protocol/codec/heads.ts'
import type { User } from '../auth/index.ts'
import type { Json, Records } from '../state/index.ts'
import type { Asked } from './asked.ts'
import { tooManyLogins } from './errors.ts'

const NAMESPACE = 'gateway-session'
/** By user: the keys of the user's sessions, the oldest first. */
const OF_USER = 'gateway-sessions-of'
/** Of one user; the oldest gives way to a further one. The room for all users' records is one. */
export const MAX_SESSIONS = 64
/** How often a login begins again because another of the same user came between; each time one of them has won. */
const ATTEMPTS = 64
const SECRET = /^[\w-]{32}$/

/** What a browser may use after its ticket: one port of one machine, as one user. */
interface Session {
  user: User
  /** By its name, or as `owner/name`. */
  machine: string
  port: string
  /** The host's (`ownerTag`). */
  tag: string
}

/** Browsers' sessions. What a cookie has to show is kept nowhere but in the browser. */
export class GatewaySessions {
  readonly #records: Records
  readonly #maxMs: number

  /** @param records need not outlive the process: a browser needs another ticket then */
  constructor(records: Records, maxMs: number) {
    this.#records = records
    this.#maxMs = maxMs
  }

  /**
   * @param machine the one that is behind the host
   * @throws {TunnelError} STATE_UNAVAILABLE, RATE_LIMITED
   */
  async make(
    user: User,
    machine: string,
    { port, owner = '' }: Asked,
  ): Promise<{ secret: string; maxAgeMs: number }> {
    const secret = randomBytes(24).toString('base64url')
    const maxAgeMs = Math.min(this.#maxMs, Math.max(1_000, user.expiresAtMs - Date.now()))
    const session: Session = { user, machine, port, tag: owner }
    const key = keyOf(secret)
    await this.#enlist(user.sub, key)
    await this.#records.put(NAMESPACE, key, session as unknown as Json, { ttlMs: maxAgeMs })
    return { secret, maxAgeMs }
  }

  /** @throws {TunnelError} RATE_LIMITED where too many of the user's come at once */
  async #enlist(userId: string, key: string): Promise<void> {
    const options = { ttlMs: this.#maxMs }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = (await this.#records.get(OF_USER, userId)) as string[] | undefined
      const all = [...(before ?? []), key]
      const kept = all.slice(-MAX_SESSIONS)
      const isMine =
        before === undefined
          ? await this.#records.create(OF_USER, userId, kept, options)
          : await this.#records.replace(OF_USER, userId, before, kept, options)
      if (!isMine) continue
      for (const oldest of all.slice(0, -MAX_SESSIONS)) await this.#records.delete(NAMESPACE, oldest)
      return
    }
    throw tooManyLogins()
  }

  /** The session of the first of these that is one for what is asked. */
  async find(secrets: readonly string[], asked: Asked): Promise<Session | undefined> {
    for (const secret of secrets) {
      const session = await this.#findOne(secret, asked)
      if (session !== undefined) return session
    }
    return undefined
  }

  async #findOne(secret: string, asked: Asked): Promise<Session | undefined> {
    if (!SECRET.test(secret)) return undefined
    const session = (await this.#records.get(NAMESPACE, keyOf(secret))) as unknown as Session | undefined
    if (session === undefined || session.tag !== asked.owner || session.port !== asked.port) return undefined
    return readMachine(session.machine).name === asked.machine ? session : undefined
  }
}

function keyOf(secret: string): string {
  return hash('sha256', secret, 'base64url')
}
