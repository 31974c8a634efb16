import type { User } from '../auth/index.ts'
import type { MachineDirectory } from '../machines/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Pool } from './index.ts'
import type { PoolOptions } from './options.ts'

interface WarmUpServices {
  readonly pool: Pick<Pool, 'connections' | 'warm'>
  readonly machines: Pick<MachineDirectory, 'list' | 'resolve'>
  readonly policy: Pick<Policy, 'check'>
}

/** Makes connections ahead for users who have just come, so that their first request waits for no handshake. */
export class WarmUp {
  readonly #options: Pick<PoolOptions, 'warm' | 'maxPerUser'>
  readonly #services: WarmUpServices

  constructor(options: Pick<PoolOptions, 'warm' | 'maxPerUser'>, services: WarmUpServices) {
    this.#options = options
    this.#services = services
  }

  /** Never rejects: `failed` hears of a machine that could not be reached, whose next request is told why; '' for all. */
  async run(user: User, failed: (machine: string, error: unknown) => void): Promise<void> {
    const { pool, machines } = this.#services
    const count = Math.min(this.#options.warm, this.#options.maxPerUser)
    // Whoever has connections needs none made ahead, and none of them is to be evicted for that.
    if (count === 0 || pool.connections(user.sub).length > 0) return
    try {
      const own = machines.list(user).filter(({ online, shared }) => online && shared !== true)
      await Promise.all(
        own.slice(0, count).map(({ name }) => this.#warm(user, name).catch((error) => failed(name, error))),
      )
    } catch (error) {
      // A plugin's policy says what is shared with the user.
      failed('', error)
    }
  }

  async #warm(user: User, machine: string): Promise<void> {
    const { pool, machines, policy } = this.#services
    await policy.check({ user, machine, owner: user.sub, mode: 'inspected', kind: 'exec' })
    const route = await machines.resolve(user, machine)
    await pool.warm({ userId: user.sub, route, priority: 'low' })
  }
}
