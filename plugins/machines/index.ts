import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { StreamsOptions } from '../../protocol/options.ts'
import { MachineDirectory } from './directory.ts'
import type { HostKey } from './host-keys.ts'
import type { MachinesOptions } from './options.ts'

export type { Machine } from '../../dial/machine.ts'
export type { AgentHomes, Presence } from './agent.ts'
export type { MeshedAgents } from './agents.ts'
export type { MachineDirectory } from './directory.ts'
export type { HomeReplica } from './homes.ts'
export type { AgentRoute, ConfiguredRoute, Route } from './route.ts'

declare module 'fastify' {
  interface FastifyInstance {
    machines: MachineDirectory
  }
}

export interface MachinesPluginOptions {
  configured: MachinesOptions
  streams: StreamsOptions
  /** How often each machine's SSH server is tried, in ms; 0: never. */
  probeMs: number
  /** How many names may be looked up at once for users of configured hosts. @default 2 */
  lookupsAtOnce?: number | undefined
}

async function machinesPlugin(app: FastifyInstance, options: MachinesPluginOptions): Promise<void> {
  const { configured, streams, probeMs, lookupsAtOnce } = options
  const directory = new MachineDirectory(configured, streams, app.state, {
    sharedWith: (user) => app.policy.sharedWith?.(user),
    ...{ probeMs, lookupsAtOnce },
    traceContext: () => app.tracing.traceContext(),
  })
  const stop = await directory.follow((error) =>
    app.log.error({ err: error }, 'the records of machines could not be read'),
  )
  const nameAll = (keys: readonly HostKey[]) => keys.map(({ fingerprint }) => fingerprint).join(' ')
  directory.onKeysChanged((userId, machine, pinned, shown) =>
    app.audit.record({
      ...{ event: 'machine.key_changed', userId, machine },
      details: { pinned: nameAll(pinned), shown: nameAll(shown) },
    }),
  )
  app.decorate('machines', directory)
  app.addHook('onClose', async () => {
    stop()
    directory.close()
  })
}

export default fp(machinesPlugin, {
  name: 'tunnel-machines',
  fastify: '5.x',
  dependencies: ['tunnel-audit', 'tunnel-tracing', 'tunnel-state', 'tunnel-policy'],
})
