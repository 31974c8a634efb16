import { createHmac, randomBytes } from 'node:crypto'

/** Octets of an address that are free to differ, each from `least`; what is near 127.0.0.1 is other people's. */
const OCTETS = [
  { least: 1, count: 254 },
  { least: 0, count: 256 },
  { least: 1, count: 254 },
] as const

/**
 * Addresses of loopback, one for each user, from which the machine's sshd is dialled: it counts logins that fail, and
 * those that are not over, by address (PerSourcePenalties, PerSourceMaxStartups), and one user's must not lock another
 * out. They are another choice with each start of the agent, so that nobody can choose a user id to share another's.
 */
export class SourceAddresses {
  readonly #secret = randomBytes(16)
  readonly #isUsable: boolean

  /** @param isUsable that of the person who says so; where the system has only 127.0.0.1 there is no other address */
  constructor(isUsable = true) {
    this.#isUsable = isUsable && process.platform === 'linux'
  }

  /** Undefined where the system chooses. */
  addressFor(whose: string): string | undefined {
    if (!this.#isUsable) return undefined
    const hash = createHmac('sha256', this.#secret).update(whose).digest()
    const octets = OCTETS.map(({ least, count }, index) => least + (hash.readUInt32BE(index * 4) % count))
    return `127.${octets.join('.')}`
  }
}

/** Whose address the agent's own questions come from; no user id is empty. */
export const OWN = ''

/** Whether sshd sees this process at loopback when it is dialled there. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || isLoopbackV4(host)
}

/** Whether any address of 127.0.0.0/8 may be dialled from to reach `host`. */
export function isLoopbackV4(host: string): boolean {
  return /^127(\.\d{1,3}){3}$/.test(host)
}
