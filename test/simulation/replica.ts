import { Mesh } from '../../plugins/cluster/mesh.ts'
import { Neighbours } from '../../plugins/cluster/neighbours.ts'
import type { Peer } from '../../plugins/cluster/peer.ts'
import type { Streams } from '../../plugins/forward/streams.ts'
import type { MeshedAgents } from '../../plugins/machines/index.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import { NO_LOG } from './ledger.ts'
import { SETTINGS, SOFTWARE } from './parties.ts'
import type { ProcessClock } from './process-clock.ts'
import type { World } from './world.ts'

/** As the plugin has it, in ms. */
const DIAL_MS = 2_000
/** What no replica does to another that knows its secret and has an id of its own. */
const IMPOSSIBLE: ReadonlySet<string> = new Set(['FORBIDDEN', 'FRAME_INVALID', 'CONFIG_INVALID', 'INTERNAL'])

export interface ReplicaParts {
  id: string
  clock: ProcessClock
  agents: MeshedAgents
  streams: Streams
  /** Told of what it has dialled. */
  dialled(transport: Transport): void
}

/** What makes a proxy one of several: the shipped mesh, wired as its plugin wires it. */
export class Replica {
  readonly mesh: Mesh
  readonly #neighbours: Neighbours

  constructor(world: World, { id, clock, agents, streams, dialled }: ReplicaParts) {
    const over = ({ code, message }: TunnelError): void => {
      if (IMPOSSIBLE.has(code)) world.violation(`a link between replicas: ${code} ${message}`)
    }
    const { maxFrameBytes } = SETTINGS.limits
    this.mesh = new Mesh({
      self: {
        ...{ id, instance: id, secret: 'secret', software: SOFTWARE, clock, maxFrameBytes },
        resumeMs: SETTINGS.streams.resumeMs,
      },
      agents,
      load: () => streams.overview.held().passages,
      handOver: (peer: Peer, incoming) =>
        streams.takeOver(
          { ...{ connectionId: 'relay', correlationId: 'relay' }, replica: peer.id, self: id, log: NO_LOG },
          incoming,
        ),
      revoked() {},
      joined() {},
      left: (_peer, error) => over(error),
      refused: (_peer, error) => over(error),
    })
    const dial = world.network.dialOf('relay', clock)
    this.#neighbours = new Neighbours({
      ...{ mesh: this.mesh, selfId: id, clock, random: world.random },
      find: async () => world.places(),
      async dial({ url }, signal) {
        const transport = await dial(url, { signal, timeoutMs: DIAL_MS, maxFrameBytes })
        dialled(transport)
        return transport
      },
      failed() {},
    })
    agents.ways.askOthers(async () => {
      await this.mesh.heard()
      return !this.#neighbours.isMissing((other) => this.mesh.knows(other))
    })
    void this.#neighbours.follow()
  }

  close(): void {
    this.#neighbours.close()
    this.mesh.close()
  }
}
