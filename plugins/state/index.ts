import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { EmbeddedState } from './embedded.ts'
import type { StateOptions } from './options.ts'
import type { State, StateLoss } from './state.ts'

export type {
  BucketLimit,
  Json,
  RecordOptions,
  Records,
  State,
  StateLoss,
  TokenAnswer,
  Watcher,
} from './state.ts'

declare module 'fastify' {
  interface FastifyInstance {
    state: State
  }
}

async function statePlugin(app: FastifyInstance, options: StateOptions): Promise<void> {
  app.tunnelMetrics.onRead(() => {
    app.tunnelMetrics.stateAvailable.set({}, app.state.isAvailable === false ? 0 : 1)
  })
  if (options.store === 'redis') return shared(app, options)
  const state = await EmbeddedState.open(options.dir)
  if (state.loss !== undefined)
    app.log.error({ context: { ...state.loss } }, lossText(options.dir, state.loss))
  app.decorate('state', state)
  // Whoever takes our place needs the folder; what stands here needs it no more.
  app.lifecycle.onDrain('hand over', async () => {
    try {
      await state.keepBuckets()
    } finally {
      await state.close()
    }
  })
  app.addHook('onClose', () => state.close())
}

async function shared(app: FastifyInstance, options: StateOptions): Promise<void> {
  const { redisUrl: url, sentinels: addresses, sentinelMaster: master, staleMs } = options
  // Whoever keeps state in the process needs no Redis client in memory.
  const { RedisState } = await import('./redis.ts')
  const failed = (error: Error): void =>
    app.log.error(
      { err: error },
      'Redis is away, or refuses: until that is over, what needs a record is refused',
    )
  const sentinels = addresses.length === 0 ? undefined : { addresses, master }
  const state = await RedisState.open({ url, sentinels, staleMs, failed })
  app.decorate('state', state)
  app.addHook('onClose', () => state.close())
}

function lossText(dir: string, { records, file }: StateLoss): string {
  return (
    `the state folder has lost ${records} records, such as pinned host keys: restore ${join(dir, 'db')} from a backup, ` +
    `or delete ${file} to accept the loss. Until then the host keys of a machine that is new here are not used before ` +
    'its owner trusts them (tunnel machines --trust NAME)'
  )
}

export default fp(statePlugin, {
  name: 'tunnel-state',
  fastify: '5.x',
  dependencies: ['tunnel-lifecycle', 'tunnel-metrics'],
})
