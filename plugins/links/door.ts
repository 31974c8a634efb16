import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { softwareOf } from '../../dial/software.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { type Hello, PROTOCOL_VERSION } from '../../protocol/codec/hello.ts'
import { Link } from '../../protocol/link/link.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import type { AuditEvent } from '../audit/index.ts'
import type { User } from '../auth/index.ts'
import type { LinkContext } from '../forward/index.ts'
import { LinkCredential } from './credential.ts'
import { agentRevoked, wrongRole } from './errors.ts'
import { Farewells } from './farewells.ts'
import type { WebSocketPluginOptions } from './options.ts'
import type { StandingLink } from './reports.ts'
import type { AcceptedLink, RoleHandler } from './role.ts'
import type { Turns } from './turns.ts'
import { UserWork } from './work.ts'

/** How long clients have to find another proxy before one that drains lets go of those that only pass through, in ms. */
const MOVE_MS = 5_000
/** How often it looks whom it still waits for, in ms. */
const LOOK_MS = 200

export interface Newcomer {
  readonly transport: Transport
  /** By which it was opened. */
  readonly request: FastifyRequest
  readonly handler: RoleHandler
  readonly turns: Turns
}

/** Makes links of what was opened for them; keeps the set of them, for draining and for the metrics. */
export class LinkDoor {
  readonly #app: FastifyInstance
  readonly #options: WebSocketPluginOptions
  /** Tells a peer whether two links end at the same proxy. */
  readonly instance = randomUUID()
  readonly links = new Map<Link, StandingLink>()
  readonly work: UserWork
  readonly #farewells = new Farewells()

  constructor(app: FastifyInstance, options: WebSocketPluginOptions) {
    this.#app = app
    this.#options = options
    this.work = new UserWork((userId) => app.forward.hasOther(userId))
  }

  #hello(): Hello {
    const { heartbeat, limits, streams } = this.#options
    return {
      role: 'proxy',
      version: PROTOCOL_VERSION,
      software: softwareOf('proxy'),
      instance: this.instance,
      heartbeat,
      limits: { maxFrameBytes: limits.maxFrameBytes, maxStreams: streams.maxPerLink },
      resumeMs: streams.resumeMs,
      ...(this.#options.isOneOfSeveral && { isOneOfSeveral: true }),
    }
  }

  /** A link over a transport that has just been opened. */
  accept(role: 'client' | 'agent', { transport, request, handler, turns }: Newcomer): Link {
    const app = this.#app
    const metrics = app.tunnelMetrics
    const connectionId = randomUUID()
    const log = request.log.child({ connectionId })
    const userId = request.user.sub
    const context: StandingLink = {
      user: request.user,
      role,
      connectionId,
      correlationId: request.id,
      since: new Date(),
      log,
    }
    const trace = app.tracing.link(context, request)
    const since = performance.now()
    let isOpen = false
    const link: Link = new Link({
      transport,
      dialler: false,
      trust: 'user',
      work: this.work.join(userId),
      hello: this.#hello(),
      handlers: {
        ready: (peer) => {
          if (peer.role !== role) throw wrongRole(peer.role, role)
          if (peer.machine !== undefined) context.machine = peer.machine
          const admission = turns.next('greeted').then(() => this.#admit(accepted, credential, peer, handler))
          admission.then(
            () => {
              isOpen = true
              this.#record('link.opened', context, { address: request.ip, software: peer.software })
            },
            () => {},
          )
          admit(admission)
          return admission
        },
        open: (open) => {
          this.#farewells.hurry(link)
          handler.open?.(accepted, open)
        },
        resume: (resume) => handler.resume?.(accepted, resume),
        rtt: (ms) => metrics.heartbeatRttMs.observe({}, ms),
        auth: (token) => {
          // What comes after it is opened with it.
          accepted.admitted = credential.renew(token, accepted.admitted)
          accepted.admitted.catch(() => {})
        },
        closed: (error) => {
          this.links.delete(link)
          this.#farewells.closed(link)
          credential.close()
          this.work.leave(userId)
          if (role === 'client' && --this.#clients === 0) this.#onLastClientGone?.()
          metrics.activeConnections.dec({ role })
          if (error.category === 'protocol' && error.code !== 'TAKEN_OVER') metrics.countError(error)
          const durationMs = Math.round(performance.now() - since)
          const why = link.leftByPeer ? {} : { code: error.code, reason: error.message }
          log.info({ context: { role, durationMs, ...why } }, 'link closed')
          trace?.ended(context, link.leftByPeer ? undefined : error)
          const outcome = link.leftByPeer ? 'ok' : error.code
          this.#record(isOpen ? 'link.closed' : 'link.refused', context, { outcome, durationMs })
          handler.closed(accepted)
          void app.tunnel.notify('onDisconnect', context)
        },
      },
    })
    let admit: (admission: Promise<void>) => void = () => {}
    const admitted = new Promise<void>((resolve) => {
      admit = resolve
    })
    // Nobody may be waiting for it: the link was closed with the same error.
    admitted.catch(() => {})
    const accepted: AcceptedLink = { link, context, admitted }
    this.links.set(link, context)
    if (role === 'client') this.#clients++
    metrics.activeConnections.inc({ role })
    const credential = new LinkCredential(app.auth, context, (error) => link.close(error))
    try {
      handler.accepted(accepted)
      credential.watch()
    } catch (error) {
      link.close(asTunnelError(error, 'proxy'))
    }
    return link
  }

  #record(event: string, context: LinkContext, details: AuditEvent['details']): void {
    const { user, machine, role, connectionId, correlationId } = context
    this.#app.audit.record({
      ...{ event, userId: user.sub, correlationId },
      ...(machine !== undefined && { machine }),
      details: { role, connectionId, ...details },
    })
  }

  async #admit(
    accepted: AcceptedLink,
    credential: LinkCredential,
    peer: Hello,
    handler: RoleHandler,
  ): Promise<void> {
    const { link, context } = accepted
    try {
      // While it waited for its turn.
      if (link.closedWith !== undefined) throw link.closedWith
      credential.check()
      await this.#app.tunnel.run('onConnect', context)
      await handler.ready?.(accepted, peer)
      context.log.info(
        { context: { role: context.role, software: peer.software, transport: link.transport } },
        'link open',
      )
    } catch (thrown) {
      const error = asTunnelError(thrown, 'proxy')
      link.close(error)
      throw error
    }
  }

  /** Ends what stands on tokens that were revoked: streams, also those without a link now, and links. */
  revoked(isRevoked: (user: User) => boolean, error: TunnelError): void {
    const { forward, machines } = this.#app
    forward.end(({ user }) => isRevoked(user), error)
    for (const [link, { user, machine }] of [...this.links]) {
      if (!isRevoked(user)) continue
      link.close(error)
      // An agent that has no other link: what goes to its machine is not kept until somebody brings it back.
      if (machine === undefined || machines.find(user.sub, machine)?.online === true) continue
      forward.end((stream) => stream.owner === user.sub && stream.machine === machine, agentRevoked(machine))
    }
  }

  /** Asks every peer to go elsewhere. */
  sendAway(deadlineMs: number, error: TunnelError): void {
    if (this.#options.isOneOfSeveral) this.#spreadMs = Math.min(this.#options.spreadMs, deadlineMs / 4)
    this.#farewells.begin(this.links, { error, deadlineMs, spreadMs: this.#spreadMs })
  }

  close(error: TunnelError): void {
    for (const link of [...this.links.keys()]) link.close(error)
  }

  /** After the last link has closed. */
  clear(): void {
    this.work.clear()
  }

  /**
   * Waits until the clients have gone elsewhere, or the time is `over`. A client that has nowhere to go is waited for
   * while streams that end here go over links; sealed ones go on through whatever takes our place, and the
   * sooner it can, the better. Agents' links carry the clients' streams to the end. Whoever has found no other proxy
   * MOVE_MS after the last of them was asked to leave begins nothing here any more (`refusal`): who asks for one thing
   * after the other would hold it up for ever.
   */
  clientsLeave(over: AbortSignal, refusal: TunnelError): Promise<void> {
    const { forward } = this.#app
    const sinceMs = performance.now()
    let mayBegin = true
    const isAwaited = (): boolean => {
      if (over.aborted || this.#clients === 0) return false
      if (performance.now() - sinceMs < this.#spreadMs + MOVE_MS) return true
      if (mayBegin) forward.refuseNew(refusal)
      mayBegin = false
      return forward.areUsed(this.links)
    }
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const look = (): void => {
        if (isAwaited()) return
        clearInterval(timer)
        over.removeEventListener('abort', look)
        this.#onLastClientGone = undefined
        resolve()
      }
      timer = setInterval(look, LOOK_MS).unref()
      over.addEventListener('abort', look)
      this.#onLastClientGone = look
      look()
    })
  }

  #clients = 0
  /** Over how long its peers are asked to leave. */
  #spreadMs = 0
  #onLastClientGone: (() => void) | undefined
}
