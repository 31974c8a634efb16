import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import type { Log } from '../../../../plugins/forward/log.ts'
import type { ServeContext } from '../../../../plugins/forward/serve.ts'
import type { ChannelLease } from '../../../../plugins/pool/index.ts'
import { systemClock } from '../../../../protocol/clock.ts'
import { parseTarget } from '../../../../protocol/codec/target.ts'
import type { Scope } from '../../../support/scope.ts'

/**
 * Places for connections that are plain sockets, and who is asked to give one back.
 * @param most at once; others wait
 */
export function places(t: Scope, most = Number.POSITIVE_INFINITY) {
  const offers = new Set<() => void>()
  const waiting: (() => void)[] = []
  const errors: unknown[] = []
  const bytes = { in: 0, out: 0 }
  let held = 0
  const acquire = async (): Promise<ChannelLease> => {
    if (held < most) held++
    else await new Promise<void>((resolve) => waiting.push(resolve))
    let offer: (() => void) | undefined
    let released = false
    const keep = (): void => {
      if (offer !== undefined) offers.delete(offer)
    }
    return {
      connection: {
        probe() {},
        async openTcp(host: string, port: number) {
          const socket = net.connect({ host, port, allowHalfOpen: true })
          t.after(() => socket.destroy())
          await once(socket, 'connect')
          return socket
        },
      },
      release() {
        keep()
        if (released) return
        released = true
        const next = waiting.shift()
        if (next === undefined) held--
        else next()
      },
      offer(giveBack: () => void) {
        offer = giveBack
        offers.add(giveBack)
      },
      keep,
    } as never
  }
  const log: Log = {
    ...{ debug() {}, info() {}, warn() {}, error: (context: unknown) => void errors.push(context) },
    child: () => log,
  }
  const context = (target: string): ServeContext => ({
    userId: 'ada',
    owner: 'ada',
    machine: 'home',
    target: parseTarget(target),
    headers: {},
    names: { check: async () => {}, isTrusted: async () => true },
    timeoutMs: 30_000,
    bodyMs: 60_000,
    idleMs: 3_600_000,
    clock: systemClock,
    log,
    acquire,
    open: () => assert.fail('a channel of HTTP is opened by its origin'),
    onOpen: () => undefined,
    onAccepted: () => {},
    onHead: () => {},
    carried: (direction, byteCount) => {
      bytes[direction] += byteCount
    },
    suspended: () => {},
    resumed: () => {},
  })
  return { offers, errors, bytes, context, held: () => held }
}
