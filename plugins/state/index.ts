import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { EmbeddedState } from './embedded.ts'
import type { StateOptions } from './options.ts'
import type { State } from './state.ts'

export type { BucketLimit, Json, State, TokenAnswer } from './state.ts'

declare module 'fastify' {
  interface FastifyInstance {
    state: State
  }
}

async function statePlugin(app: FastifyInstance, options: StateOptions): Promise<void> {
  const state = await EmbeddedState.open(options.dir)
  app.decorate('state', state)
  // Whoever takes our place needs the folder; what stands here needs it no more.
  app.lifecycle.onDrain('hand over', () => state.close())
  app.addHook('onClose', () => state.close())
}

export default fp(statePlugin, { name: 'tunnel-state', fastify: '5.x', dependencies: ['tunnel-lifecycle'] })
