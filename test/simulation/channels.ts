import type { StreamServices } from '../../plugins/forward/streams.ts'
import type { ChannelLease } from '../../plugins/pool/index.ts'
import { PREFACE_BYTES } from './talker.ts'

/**
 * In place of the pool of SSH connections: a channel is a stream of the proxy's own to the machine, by the route that
 * an SSH connection would take, and begins with the number of the plan that its target names (`plan-7:22`).
 */
export class Channels {
  /** Places that were taken and not given back. */
  leased = 0
  readonly acquire: StreamServices['pool']['acquire']

  constructor() {
    this.acquire = async ({ route }) => {
      const openTcp = async (host: string) => {
        const duplex = await route.dial()
        const preface = Buffer.alloc(PREFACE_BYTES)
        preface.writeUInt32BE(Number(host.split('-')[1]))
        duplex.write(preface)
        // As a channel of SSH, it has somebody who hears of its errors from the beginning.
        duplex.on('error', () => {})
        return duplex
      }
      return this.#lease({ openTcp, isFull: () => false, closed: false })
    }
  }

  #lease(connection: unknown): ChannelLease {
    this.leased++
    let released = false
    return {
      connection: connection as ChannelLease['connection'],
      release: () => {
        if (!released) this.leased--
        released = true
      },
      offer: () => {},
      keep: () => {},
    }
  }

  open(): Promise<never> {
    return Promise.reject(new Error('no commands here'))
  }

  waiting(): number {
    return 0
  }
}
