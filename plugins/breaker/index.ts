import fp from 'fastify-plugin'
import { systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { type CircuitKey, type CircuitReport, Circuits } from './circuits.ts'
import { KeptCircuits } from './kept.ts'
import type { BreakerOptions } from './options.ts'

export type { CircuitKey, CircuitReport } from './circuits.ts'

export interface Breaker {
  /** Runs `work` unless the last attempts failed in a row; throws CIRCUIT_OPEN with retryAfterMs, or what `work` throws. */
  run<T>(key: CircuitKey, work: () => Promise<T>): Promise<T>
  /** A connection that stood was lost by `error`, which counts as an attempt that failed so. */
  lost(key: CircuitKey, error: TunnelError): void
  states(): CircuitReport[]
  /** As an administrator, `by`, wants it. */
  set(key: CircuitKey, state: 'closed' | 'open', by: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    breaker: Breaker
  }
}

export default fp<BreakerOptions>(
  async (app, options) => {
    const kept = new KeptCircuits(app.state)
    const keep = async (keeping: Promise<void>): Promise<void> => {
      try {
        await keeping
      } catch (err) {
        // A proxy that leaves has let go of its state.
        if (!app.lifecycle.draining) app.log.warn({ err }, 'a restart will not know how this circuit stands')
      }
    }
    const circuits = new Circuits(options, systemClock, {
      changed(key, state, by) {
        const { user: userId, owner, machine } = key
        app.tunnelMetrics.circuitTransitions.inc({ to: state })
        // That it is tried again says nothing yet.
        if (state === 'half_open') return
        void keep(state === 'open' ? kept.opened(key, options.openMs) : kept.closed(key))
        app.log.info({ userId, context: { owner, machine, state, by } }, 'a circuit has changed')
        const details = { owner, ...(by !== undefined && { by }) }
        app.audit.record({
          event: `circuit.${state === 'open' ? 'opened' : 'closed'}`,
          userId,
          machine,
          details,
        })
      },
      refused: () => app.tunnelMetrics.circuitRefusals.inc({}),
    })
    await kept.restore(circuits)
    app.decorate('breaker', circuits)
    app.tunnelMetrics.onRead(() => {
      const count = { closed: 0, open: 0, half_open: 0 }
      for (const { state } of circuits.states()) count[state]++
      app.tunnelMetrics.circuits.set({ state: 'closed' }, count.closed)
      app.tunnelMetrics.circuits.set({ state: 'open' }, count.open)
      app.tunnelMetrics.circuits.set({ state: 'half_open' }, count.half_open)
    })
  },
  {
    name: 'tunnel-breaker',
    fastify: '5.x',
    dependencies: ['tunnel-lifecycle', 'tunnel-metrics', 'tunnel-audit', 'tunnel-state'],
  },
)
