import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { ChannelLease, Pool } from '../pool/index.ts'
import { kindUnknown, targetOf, tokenOver } from './errors.ts'
import { serveExec } from './exec.ts'
import type { OpenContext, TunnelHooks } from './hooks.ts'
import { HttpOrigins } from './http/origins.ts'
import type { RequestOptions } from './options.ts'
import type { ServeContext, Served } from './serve.ts'
import { serveTcp } from './tcp.ts'

/** What forwarding is built on; read at each use, so that a custom plugin may replace any of it. */
export interface ForwardServices {
  readonly policy: { check(request: OpenRequest): Promise<void> }
  readonly rateLimits: { takeStream(user: User): Promise<void> }
  readonly pool: Pool
  readonly machines: { resolve(userId: string, name: string): Promise<Route> }
}

type OpenRequest = Pick<OpenContext, 'user' | 'machine' | 'mode' | 'target'> & {
  owner: string
  kind: TunnelStream['head']['kind']
}

/** What policy is asked of a stream, beyond whose it is. */
export type PolicyStream = Pick<RoutedHead, 'machine' | 'kind'> & {
  owner: string
  target?: string | undefined
}

/** What is counted of each stream. */
export interface ForwardCounts {
  /** Whoever asked tells the peer, and counts the error. */
  refused(kind: string, error: TunnelError): void
  over(kind: string, error: TunnelError | undefined, durationMs: number): void
  head(latencyMs: number): void
  bytes(bytesIn: number, bytesOut: number): void
}

/** The way of a stream through the proxy: who may open it, and who carries its bytes. */
export class Forwarder {
  readonly #options: RequestOptions
  readonly #services: ForwardServices
  readonly #hooks: TunnelHooks
  readonly #counts: ForwardCounts
  readonly #origins: HttpOrigins

  constructor(options: RequestOptions, services: ForwardServices, hooks: TunnelHooks, counts: ForwardCounts) {
    this.#options = options
    this.#services = services
    this.#hooks = hooks
    this.#counts = counts
    this.#origins = new HttpOrigins((userId) => services.pool.waiting(userId))
  }

  waiting(): ReturnType<HttpOrigins['waiting']> {
    return this.#origins.waiting()
  }

  /** For streams of every kind, sealed ones too: throws whatever refuses it. */
  async authorise(context: OpenContext): Promise<void> {
    const { user, machine, head } = context
    try {
      await this.#hooks.run('preOpen', context)
      if (user.expiresAtMs <= Date.now()) throw tokenOver()
      const named = context.target ?? head.target
      // First: guessing at the names of machines uses up the same tokens.
      await this.#services.rateLimits.takeStream(user)
      const route = await this.#services.machines.resolve(user.sub, machine)
      context.route = route
      const { owner } = route
      const target = await this.checkPolicy(user, { machine, owner, kind: head.kind, target: named })
      if (target !== undefined) context.target = target
    } catch (thrown) {
      const error = asTunnelError(thrown)
      this.#counts.refused(head.kind, error)
      throw error
    }
  }

  /**
   * Policy alone, as for a stream that goes on. Answers with the target in its one form, which is what policy is asked
   * of and what is dialled: no other spelling is a way around a rule.
   */
  async checkPolicy(
    user: User,
    { machine, owner, kind, target: named }: PolicyStream,
  ): Promise<string | undefined> {
    const target = named === undefined ? undefined : targetOf(named).authority
    await this.#services.policy.check({
      user,
      machine,
      owner,
      mode: kind === 'ssh' ? 'sealed' : 'inspected',
      kind,
      ...(target === undefined ? {} : { target }),
    })
    return target
  }

  /** An inspected stream that has been authorised, to its end. Never throws: what fails resets the stream. */
  async serve(stream: TunnelStream, context: OpenContext): Promise<void> {
    const startedMs = performance.now()
    let served: Served = { error: undefined, bytesIn: 0, bytesOut: 0 }
    try {
      served = await this.#serveKind(stream, context)
    } catch (thrown) {
      served.error = asTunnelError(thrown)
      if (served.error.code === 'INTERNAL') context.log.error({ err: thrown }, 'serving a stream failed')
      stream.reset(served.error)
    }
    const durationMs = performance.now() - startedMs
    this.#counts.over(stream.head.kind, served.error, durationMs)
    this.#counts.bytes(served.bytesIn, served.bytesOut)
    await this.#hooks.notify('onClose', { ...context, error: served.error, durationMs })
  }

  close(): void {
    this.#origins.close()
  }

  async #serveKind(stream: TunnelStream, context: OpenContext): Promise<Served> {
    const { kind } = stream.head
    if (kind !== 'tcp' && kind !== 'http' && kind !== 'exec') throw kindUnknown(kind)
    const { user, machine } = context
    // Before the pool: an unknown name must not cost the user a place.
    const route = context.route ?? (await this.#services.machines.resolve(user.sub, machine))
    const serving = this.#serveContext(stream, context, route)
    if (kind === 'http') return this.#origins.serve(stream, serving)
    return kind === 'tcp' ? serveTcp(stream, serving) : serveExec(stream, serving)
  }

  #serveContext(stream: TunnelStream, context: OpenContext, route: Route): ServeContext {
    const { user, machine, log } = context
    const { timeoutMs, slowMs } = this.#options
    return {
      userId: user.sub,
      machine,
      target: context.target ?? stream.head.target,
      headers: context.headers ?? {},
      timeoutMs,
      log,
      acquire: (signal): Promise<ChannelLease> =>
        this.#services.pool.acquire({ userId: user.sub, route, signal }),
      open: (signal, open) => this.#services.pool.open({ userId: user.sub, route, signal }, open),
      onOpen: () => (this.#hooks.has('onOpen') ? this.#hooks.run('onOpen', context) : undefined),
      onHead: (latencyMs) => {
        this.#counts.head(latencyMs)
        if (latencyMs > slowMs)
          log.warn({ context: { latencyMs: Math.round(latencyMs), machine } }, 'slow request')
      },
    }
  }
}
