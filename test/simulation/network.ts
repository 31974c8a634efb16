import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Dial } from '../../protocol/link/transport.ts'
import { MemoryPair } from '../support/memory-transport.ts'
import type { VirtualClock } from '../support/virtual-clock.ts'
import type { ProcessClock } from './process-clock.ts'
import type { ProxyProcess } from './proxy.ts'

export type Role = 'client' | 'agent' | 'relay'

/** One connection that was made. */
export interface Line {
  readonly role: Role
  readonly proxy: ProxyProcess
  readonly pair: MemoryPair
}

/** The share of dials that nobody answers, for as long as the dialler waits. */
const LOST_DIALS = 0.02

/** Who listens where, and the connections to them. */
export class Network {
  readonly proxies = new Map<string, ProxyProcess>()
  readonly #lines = new Set<Line>()
  readonly #clock: VirtualClock
  readonly #random: () => number

  constructor(clock: VirtualClock, random: () => number) {
    this.#clock = clock
    this.#random = random
  }

  /** Connections that stand, as far as anybody knows. */
  linesOf(wanted: { role?: Role; proxy?: ProxyProcess }): Line[] {
    const found: Line[] = []
    for (const line of this.#lines) {
      if (line.pair.a.closed && line.pair.b.closed) this.#lines.delete(line)
      else if (wanted.role !== undefined && line.role !== wanted.role) continue
      else if (wanted.proxy !== undefined && line.proxy !== wanted.proxy) continue
      else found.push(line)
    }
    return found
  }

  dialOf(role: Role, clock: ProcessClock): Dial {
    return (url, { signal, timeoutMs }) => {
      const isLost = this.#random() < LOST_DIALS
      const oneWayMs = Math.floor(this.#random() * 60)
      return new Promise((resolve, reject) => {
        const end = (): void => {
          clock.clearTimer(timer)
          signal?.removeEventListener('abort', aborted)
        }
        const aborted = (): void => {
          end()
          reject(new TunnelError('ABORTED', 'the dial was called off', { hop: 'link' }))
        }
        const answer = (): void => {
          end()
          if (isLost) return reject(new TunnelError('TIMEOUT', `${url} did not answer`, { hop: 'link' }))
          const proxy = this.proxies.get(url)
          if (proxy === undefined)
            return reject(new TunnelError('LINK_LOST', `nobody listens at ${url}`, { hop: 'link' }))
          // The port of replicas is open to the end.
          if (proxy.draining && role !== 'relay')
            return reject(new TunnelError('SHUTTING_DOWN', `${url} is shutting down`, { hop: 'link' }))
          const latencyMs = (): number => oneWayMs + Math.floor(this.#random() * 5)
          const pair = new MemoryPair({ clock: this.#clock, latencyMs })
          this.#lines.add({ role, proxy, pair })
          proxy.accept(role, pair.b)
          resolve(pair.a)
        }
        const timer = clock.setTimer(answer, isLost ? timeoutMs : 2 * oneWayMs)
        signal?.addEventListener('abort', aborted, { once: true })
        if (signal?.aborted) aborted()
      })
    }
  }
}
