import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Lifecycle } from './lifecycle.ts'

export { DRAIN_PHASES, type Drain, type DrainPhase, type DrainStep, type Lifecycle } from './lifecycle.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** How this proxy leaves. */
    lifecycle: Lifecycle
  }
}

async function lifecyclePlugin(app: FastifyInstance): Promise<void> {
  const lifecycle = new Lifecycle((error, phase) =>
    app.log.error({ err: error, phase }, 'a step of the drain failed'),
  )
  app.decorate('lifecycle', lifecycle)
}

/** Comes last: the `preClose` hooks of all other plugins still find their links. */
export const drainOnClose = fp(
  async (app: FastifyInstance) => {
    // Closed without a drain, or in the course of one: nobody is waited for any longer.
    app.addHook('preClose', () => app.lifecycle.drain(0))
  },
  { name: 'tunnel-drain-on-close', fastify: '5.x', dependencies: ['tunnel-lifecycle'] },
)

export default fp(lifecyclePlugin, { name: 'tunnel-lifecycle', fastify: '5.x' })
