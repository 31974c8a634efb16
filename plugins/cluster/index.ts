import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { softwareOf } from '../../dial/software.ts'
import { systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { shuttingDown } from '../../protocol/codec/shutting-down.ts'
import { LineSampler } from '../../protocol/line-sampler.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import { dialWebSocket } from '../../protocol/node/dial-websocket.ts'
import { WebSocketTransport } from '../../protocol/node/websocket.ts'
import type { Reach } from '../../protocol/options.ts'
import type { Json } from '../state/index.ts'
import { ReplicaClocks } from './clocks.ts'
import { DrainTurn } from './drain-turn.ts'
import { notAnUpgrade, notReached } from './errors.ts'
import { RELAY_PATH, RelayListener } from './listener.ts'
import { Mesh } from './mesh.ts'
import { Neighbours } from './neighbours.ts'
import type { ClusterOptions } from './options.ts'
import type { Peer } from './peer.ts'
import { type Place, Places } from './places.ts'
import { type Answerer, type Answers, Questions } from './questions.ts'
import { type ClusterReport, describe, missingFrom, overview, type ReplicaReport } from './report.ts'
import { forWorker, LOOPBACK, type Siblings } from './siblings.ts'

export interface Cluster {
  /** This replica's; another one with each start where none is configured. */
  readonly id: string
  /** Of `cluster.port`, where that is 0 too. */
  readonly port: number | undefined
  /** Replicas that are there, this one among them. */
  readonly size: number
  /** This process is one of several behind one port: what is asked of the proxy comes to any of them. */
  readonly isWorker: boolean
  /** What the other replicas have: each is asked, and those that do not answer are named. */
  ask(what: string, about: Record<string, Json>): Promise<Answers>
  /** This one's answers when others ask so. */
  onQuestion(what: string, answer: Answerer): void
  /** The others to which this one has a link. */
  list(): ReplicaReport[]
  /** Who holds whom, as this replica knows. @param maxMachines of more, the rest are only counted */
  overview(maxMachines: number): ClusterReport
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined for a proxy that is alone. */
    cluster: Cluster | undefined
  }
}

export interface ClusterPluginOptions extends ClusterOptions {
  /** `cluster.port` is on this address. */
  host: string
  maxFrameBytes: number
  resumeMs: number
  /** How long it waits for another one that drains, in ms. */
  turnMs: number
  /** Where this process is one of several workers. Then it is a replica too where the settings name no others. */
  siblings?: Siblings | undefined
}

const CLOCKS_DIFFER =
  'the clock of another replica differs from that of this one: set both, as either may refuse tokens of the other'

/** How long another replica has for TCP, in ms; TLS and the upgrade have twice as long. */
const DIAL_MS = 2_000

async function clusterPlugin(app: FastifyInstance, options: ClusterPluginOptions): Promise<void> {
  const { siblings } = options
  if (!options.enabled && siblings === undefined) {
    app.decorate('cluster', undefined)
    return
  }
  const { secret, host, port, url, tls, maxFrameBytes, resumeMs } = forWorker(options)
  const instance = randomUUID()
  const id = siblings?.id ?? (options.id === '' ? instance : options.id)
  const log = app.log.child({ replica: id })
  const { agents } = app.machines
  const from = (peer: Peer) => ({
    ...{ connectionId: `relay:${peer.id}`, correlationId: randomUUID() },
    ...{ replica: peer.id, self: id },
    log,
  })
  // Strangers can cause as many as they like.
  const refusals = new LineSampler<string>(systemClock)
  const tellRefused = ({ code, message: reason }: TunnelError, what: string, more: object = {}): void => {
    const leftOut = refusals.take(code)
    if (leftOut === undefined) return
    log.error({ context: { ...more, code, reason, ...(leftOut > 0 && { leftOut }) } }, what)
  }
  const mesh = new Mesh({
    self: { id, instance, secret, software: softwareOf('proxy'), maxFrameBytes, resumeMs },
    agents,
    load: () => app.forward.overview.held().passages,
    handOver: (peer, incoming) => app.forward.takeOver(from(peer), incoming),
    revoked: (revoked) => app.auth.told?.learn(revoked),
    joined: (peer) => {
      app.tunnelMetrics.activeConnections.inc({ role: 'relay' })
      log.info({ context: { peer: peer.id, dialled: peer.side === 'dialler' } }, 'another replica is there')
    },
    left: (peer, { code, message: reason }) => {
      app.tunnelMetrics.activeConnections.dec({ role: 'relay' })
      questions.left(peer)
      log.warn({ context: { peer: peer.id, code, reason } }, 'the link to another replica is over')
    },
    told: (peer) => clocks.heard(peer),
    asked: (peer, message) => questions.heard(peer, message),
    refused: (peer, error) => tellRefused(error, 'a link to another replica was refused', { peer: peer.id }),
  })
  const missing = () => missingFrom(mesh, id, neighbours.ids)
  const questions: Questions = new Questions(
    () => mesh.peers,
    missing,
    (what, err) => log.error({ err, context: { what } }, 'a question of another replica has no answer'),
  )
  const clocks: ReplicaClocks = new ReplicaClocks(
    () => mesh.peers,
    (peer, aheadMs) => log.error({ context: { peer: peer.id, aheadMs } }, CLOCKS_DIFFER),
  )
  app.auth.told?.spreadClocks(() => clocks.spread)
  app.state.shareAmong?.(() => mesh.size)
  app.auth.told?.onOwn((revoked) => mesh.tell({ is: 'revoked', revoked }))
  const places = new Places(options.peers, app.state)
  const reach = reachOf(tls)
  const neighbours = new Neighbours({
    mesh,
    selfId: id,
    find: async () => {
      const near = siblings?.places() ?? []
      const found = options.enabled ? await places.find() : []
      return [...found, ...near.filter((one) => !found.some(({ url }) => url === one.url))]
    },
    dial: ({ url: there, address }: Place, signal) => {
      const target = new URL(RELAY_PATH, there.replace(/^http/, 'ws')).href
      return dialWebSocket(target, { timeoutMs: DIAL_MS, maxFrameBytes, signal, reach, address })
    },
    failed: ({ url: there, address = '' }, error) =>
      log.warn(
        { context: { url: there, address, ...notReached(there, error) } },
        'another replica is not reached',
      ),
  })

  agents.ways.askOthers(async () => {
    await mesh.heard()
    return !neighbours.isMissing((id) => mesh.knows(id))
  })
  // Who comes here before would be told that machines are off line which are not.
  app.health.addCheck('cluster', () =>
    neighbours.isStarted((id) => mesh.has(id)) ? undefined : 'it waits for its links to the other replicas',
  )

  const accepted = (transport: Transport): void => mesh.accept(transport)
  let listener: RelayListener | undefined
  if (port === undefined) await relayRoute(app, accepted)
  else {
    const { endSocket } = app
    const refused = (error: TunnelError): void =>
      tellRefused(error, 'who came to the port of replicas was refused')
    listener = new RelayListener({ host, port, maxFrameBytes, tls, accepted, refused, endSocket })
    await listener.listen(host, port)
  }

  const cluster: Cluster = {
    id,
    get port() {
      return listener?.port
    },
    get size() {
      return mesh.size
    },
    isWorker: siblings !== undefined,
    ask: (what, about) => questions.ask(what, about),
    onQuestion: (what, answer) => questions.onQuestion(what, answer),
    list: () => [...mesh.peers].map(describe),
    overview: (maxMachines) => {
      const isStarting = !neighbours.isStarted((other) => mesh.has(other))
      return overview(app, mesh, { id, missing: missing(), isStarting }, maxMachines)
    },
  }
  app.decorate('cluster', cluster)
  app.tunnelMetrics.onRead(() => {
    app.tunnelMetrics.clusterReplicas.set({}, mesh.size)
    app.tunnelMetrics.clusterRoutes.set({}, agents.elsewhere)
  })
  app.addHook('onListen', async () => {
    siblings?.listensAt(url !== '' ? url : `http://${LOOPBACK}:${cluster.port}`)
    siblings?.onPlaces(() => void neighbours.look())
    // Before it looks: of two that start at once, one at least finds the other, and is not ready without it.
    const announced = url === '' ? Promise.resolve() : places.announce(id, url)
    void announced.then(() => neighbours.follow())
  })
  const turn = DrainTurn.of(app.state.volatile, id, options)
  app.lifecycle.onDrain('take turns', ({ over, leftMs }) => {
    const late = AbortSignal.timeout(Math.min(options.turnMs, Math.floor(leftMs / 2)))
    return turn?.take(AbortSignal.any([over, late]))
  })
  app.lifecycle.onDrain('stop accepting', () => mesh.drain())
  const stop = async (): Promise<void> => {
    places.stop()
    neighbours.close()
    mesh.close()
    await Promise.all([listener?.close(), turn?.release()])
  }
  app.lifecycle.onDrain('close', stop)
  app.addHook('onClose', stop)
}

/** Where the links between replicas have no port of their own. */
async function relayRoute(app: FastifyInstance, accepted: (transport: Transport) => void): Promise<void> {
  const checkUpgrade = async (request: FastifyRequest): Promise<void> => {
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (!request.ws || !offered?.includes(SUBPROTOCOL)) throw notAnUpgrade()
    if (app.lifecycle.draining) throw shuttingDown()
  }
  await app.register(async (routes) => {
    const onRequest = [app.limitByIp, checkUpgrade]
    routes.get(RELAY_PATH, { websocket: true, onRequest }, (webSocket, request) => {
      request.socket.setNoDelay(true)
      accepted(new WebSocketTransport(webSocket, request.socket))
    })
  })
}

function reachOf(tls: ClusterOptions['tls']): Reach {
  return { network: { transport: 'websocket', proxy: 'none' }, tls: { ...tls, minVersion: 'TLSv1.3' } }
}

export default fp(clusterPlugin, {
  name: 'tunnel-cluster',
  fastify: '5.x',
  dependencies: [
    'tunnel-errors',
    'tunnel-lifecycle',
    'tunnel-health-checks',
    'tunnel-metrics',
    'tunnel-state',
    'tunnel-auth',
    'tunnel-ratelimit',
    'tunnel-upgrade',
    'tunnel-machines',
    'tunnel-forward',
  ],
})
