import type { FastifyInstance, FastifyRequest } from 'fastify'
import { systemClock } from '../../protocol/clock.ts'
import type { ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { LineSampler } from '../../protocol/line-sampler.ts'

/** Requests that were refused, in the audit trail: some of each kind, because strangers can cause as many as they like. */
export class RefusalRecord {
  readonly #app: Pick<FastifyInstance, 'audit'>
  readonly #sampler = new LineSampler<string>(systemClock)

  constructor(app: Pick<FastifyInstance, 'audit'>) {
    this.#app = app
  }

  add(error: TunnelError, request: FastifyRequest): void {
    const { code } = error
    const event = eventOf(error)
    if (event === undefined) return
    const leftOut = this.#sampler.take(event)
    if (leftOut === undefined) return
    const user = request.user as FastifyRequest['user'] | undefined
    this.#app.audit.record({
      event,
      ...(user !== undefined && { userId: user.sub }),
      correlationId: request.id,
      details: {
        code,
        address: request.ip,
        method: request.method,
        // The route and not the URL, in which somebody may have put a secret.
        route: request.routeOptions.url ?? 'none',
        ...(leftOut > 0 && { leftOut }),
      },
    })
  }
}

const LIMITS: ReadonlySet<ErrorCode> = new Set(['RATE_LIMITED', 'TOO_MANY_CONNECTIONS', 'TOO_MANY_STREAMS'])

function eventOf({ code, category }: TunnelError): string | undefined {
  if (category === 'authentication') return 'auth.refused'
  if (LIMITS.has(code)) return 'limit.exceeded'
  return code === 'INTERNAL' ? 'request.failed' : undefined
}
