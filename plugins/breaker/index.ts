import fp from 'fastify-plugin'
import { type CircuitKey, type CircuitReport, Circuits } from './circuits.ts'
import type { BreakerOptions } from './options.ts'

export type { CircuitKey, CircuitReport } from './circuits.ts'

export interface Breaker {
  /** Runs `work` unless the last attempts failed in a row; throws CIRCUIT_OPEN with retryAfterMs, or what `work` throws. */
  run<T>(key: CircuitKey, work: () => Promise<T>): Promise<T>
  states(): CircuitReport[]
}

declare module 'fastify' {
  interface FastifyInstance {
    breaker: Breaker
  }
}

export default fp<BreakerOptions>(
  async (app, options) => {
    const circuits = new Circuits(options)
    app.decorate('breaker', circuits)
    app.tunnelMetrics.onRead(() => {
      const count = { closed: 0, open: 0, half_open: 0 }
      for (const { state } of circuits.states()) count[state]++
      app.tunnelMetrics.circuits.set({ state: 'closed' }, count.closed)
      app.tunnelMetrics.circuits.set({ state: 'open' }, count.open)
      app.tunnelMetrics.circuits.set({ state: 'half_open' }, count.half_open)
    })
  },
  { name: 'tunnel-breaker', fastify: '5.x', dependencies: ['tunnel-metrics'] },
)
