import { hash, randomBytes } from 'node:crypto'
import type { User } from '../auth/index.ts'
import type { Json, Records } from '../state/index.ts'
import type { Asked } from './asked.ts'

const NAMESPACE = 'gateway-session'
const SECRET = /^[\w-]{32}$/

/** What a browser may use after its ticket: one port of one machine, as one user. */
interface Session {
  user: User
  machine: string
  port: string
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

  /** @throws {TunnelError} STATE_UNAVAILABLE */
  async make(user: User, { machine, port }: Asked): Promise<{ secret: string; maxAgeMs: number }> {
    const secret = randomBytes(24).toString('base64url')
    const maxAgeMs = Math.min(this.#maxMs, Math.max(1_000, user.expiresAtMs - Date.now()))
    const session: Session = { user, machine, port }
    await this.#records.put(NAMESPACE, keyOf(secret), session as unknown as Json, { ttlMs: maxAgeMs })
    return { secret, maxAgeMs }
  }

  /** Whose session this is, where it is one for what is asked. */
  async userOf(secret: string | undefined, asked: Asked): Promise<User | undefined> {
    if (secret === undefined || !SECRET.test(secret)) return undefined
    const session = (await this.#records.get(NAMESPACE, keyOf(secret))) as unknown as Session | undefined
    return session?.machine === asked.machine && session.port === asked.port ? session.user : undefined
  }
}

function keyOf(secret: string): string {
  return hash('sha256', secret, 'base64url')
}
