import type { TestContext } from 'node:test'
import { Value } from 'typebox/value'
import type { Route } from '../../../plugins/machines/index.ts'
import type { ChannelLease } from '../../../plugins/pool/lease.ts'
import { PoolOptions } from '../../../plugins/pool/options.ts'
import { ConnectionPool, type ConnectRequest, type PoolWatch } from '../../../plugins/pool/pool.ts'
import { TunnelError } from '../../../protocol/codec/errors.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

/** A connection whose life the test decides. */
export class Connection {
  readonly machine: string
  closed = false
  isFull: (error: unknown) => boolean = () => false
  probes = 0
  readonly #listeners: ((error: TunnelError | undefined) => void)[] = []
  constructor(machine: string) {
    this.machine = machine
  }
  onClose(listener: (error: TunnelError | undefined) => void): void {
    this.#listeners.push(listener)
  }
  end(): void {
    this.die(undefined)
  }
  probe(): void {
    this.probes++
  }
  die(error: TunnelError | undefined = new TunnelError('AGENT_LOST', 'gone', { hop: 'proxy' })): void {
    if (this.closed) return
    this.closed = true
    for (const listener of this.#listeners) listener(error)
  }
}

/** The pool asks a route for whose machine it is and its name; what leads there is for whoever connects. */
export const routeTo = (name: string, owner = 'ada') => ({ owner, name }) as Route

export type Lease = ChannelLease<Connection>

export interface Connecting {
  request: ConnectRequest
  done(): Connection
  fail(error: TunnelError): void
}

/** A pool whose connections are made at once, or by the test where `manual` is set. */
export function setUp(
  t: TestContext,
  options: Partial<PoolOptions> = {},
  manual = false,
  watch: PoolWatch = {},
) {
  const clock = new VirtualClock()
  const tick = (ms: number): Promise<void> => clock.run(clock.now() + ms)
  const settings = { ...(Value.Default(PoolOptions, {}) as PoolOptions), ...options }
  const made: Connection[] = []
  const connecting: Connecting[] = []
  const connect = (request: ConnectRequest): Promise<Connection> => {
    const make = (): Connection => {
      const connection = new Connection(request.route.name)
      made.push(connection)
      return connection
    }
    if (!manual) return Promise.resolve(make())
    return new Promise((resolve, reject) => {
      connecting.push({
        request,
        done() {
          const connection = make()
          resolve(connection)
          return connection
        },
        fail: reject,
      })
    })
  }
  const pool = new ConnectionPool<Connection>(settings, connect, clock, watch)
  t.after(() => pool.close())
  const acquire = (machine = 'home', userId = 'ada', signal?: AbortSignal): Promise<Lease> =>
    pool.acquire({ userId, route: routeTo(machine, userId), ...(signal === undefined ? {} : { signal }) })
  return { pool, made, connecting, acquire, tick }
}

export const hasCode = (code: string) => (error: unknown) =>
  error instanceof TunnelError && error.code === code
export const turn = () => new Promise(setImmediate)

/** What has become of a promise by now. */
export async function settled(promise: Promise<unknown>): Promise<boolean> {
  let over = false
  promise.then(
    () => (over = true),
    () => (over = true),
  )
  await turn()
  return over
}
