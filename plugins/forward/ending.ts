import { type ErrorCode, isFault, type TunnelError } from '../../protocol/codec/errors.ts'
import type { LineSampler } from '../../protocol/line-sampler.ts'
import type { OpenContext } from './hooks.ts'
import type { PassageSession } from './sessions.ts'
import type { PassageShared } from './shared.ts'
import type { PassageTrace } from './trace.ts'

/** Which refusals of one user's are told, by their outcome. */
export type Refusals = LineSampler<'ok' | ErrorCode>

/** What is said of a stream that has left this proxy. */
export interface Ending {
  /** Undefined: both sides ended it. */
  readonly error: TunnelError | undefined
  /** It was admitted. */
  readonly admitted: boolean
  readonly durationMs: number
  readonly bytesIn: number
  readonly bytesOut: number
}

/** What is measured of; its trace, where that is kept, shows such a value. */
interface Measured {
  readonly context: OpenContext
  readonly shared: PassageShared
  readonly trace: PassageTrace
}

/** How the opening of a stream went: undefined says that its machine has taken it, `openMs` after it was asked for. */
export function measureOpening(
  { context, shared, trace }: Measured,
  error: TunnelError | undefined,
  openMs: number,
): void {
  // Another proxy has counted it.
  if (context.moved || context.via !== undefined) return
  const { kind } = context.head
  const { tunnelMetrics } = shared.services
  contained(context, () => {
    tunnelMetrics.streamOpens.inc({ kind, outcome: error?.code ?? 'ok' })
    if (error === undefined) tunnelMetrics.streamOpenMs.observe({ kind }, openMs, trace.keptId)
  })
}

/** When each step of a request was done, in ms since it was asked for. */
interface Steps {
  readonly admittedMs: number
  /** It had a connection to the service. */
  readonly openedMs: number
  readonly answeredMs: number
}

/** The head of a response is there; one that took long is told of, with where the time went. */
export function measureAnswer({ context, shared, trace }: Measured, steps: Steps): void {
  const { admittedMs, openedMs, answeredMs: latencyMs } = steps
  const { machine, head, log } = context
  contained(context, () => {
    const { requestLatencyMs } = shared.services.tunnelMetrics
    requestLatencyMs.observe({ kind: head.kind }, latencyMs, trace.keptId)
  })
  if (latencyMs <= shared.slowMs) return
  const spent = {
    latencyMs: Math.round(latencyMs),
    admissionMs: Math.round(admittedMs),
    connectionMs: Math.round(openedMs - admittedMs),
    serviceMs: Math.round(latencyMs - openedMs),
  }
  log.warn({ context: { ...spent, machine } }, 'slow request')
}

/** The metrics of a stream that is over. `timed`: no latency of it has been observed yet, and this is one. */
export function measure(
  { context, shared, trace }: Measured,
  { error, durationMs }: Ending,
  timed: boolean,
): void {
  const { kind } = context.head
  const { tunnelMetrics } = shared.services
  contained(context, () => {
    tunnelMetrics.requests.inc({ kind, outcome: error?.code ?? 'ok' })
    if (error === undefined && timed)
      tunnelMetrics.requestLatencyMs.observe({ kind }, durationMs, trace.keptId)
    if (error === undefined || !isFault(error)) return
    tunnelMetrics.countError(error)
    const { user, machine, correlationId } = context
    const { code, publicMessage: message } = error
    const at = new Date().toISOString()
    shared.recentErrors.add({ at, user: user.sub, machine, kind, code, message, correlationId })
  })
}

/**
 * The line of the audit trail and of the log, and the hook `onClose`. `event` is what the audit trail calls it. A user can
 * have streams refused as fast as they can be asked for: of those some are told.
 */
export function tell(
  { context, shared, session }: { context: OpenContext; shared: PassageShared; session: PassageSession },
  ending: Ending,
  event: string,
): void {
  const { user, machine, owner = user.sub, head, mode, target, addresses, correlationId, log, via } = context
  const { error, admitted, durationMs, bytesIn, bytesOut } = ending
  const { hooks, services } = shared
  const leftOut = admitted ? 0 : session.told.take(error?.code ?? 'ok')
  if (leftOut === undefined) return
  const details = {
    streamId: head.id,
    kind: head.kind,
    mode,
    ...(owner === user.sub ? {} : { owner }),
    ...(target === undefined ? {} : { target }),
    ...(addresses === undefined ? {} : { addresses: addresses.join(' ') }),
    ...(via === undefined ? {} : { via }),
    outcome: error?.code ?? 'ok',
    durationMs: Math.round(durationMs),
    bytesIn,
    bytesOut,
    ...(leftOut > 0 && { leftOut }),
  }
  contained(context, () =>
    services.audit.record({ event, userId: user.sub, machine, correlationId, details }),
  )
  const told = { context: { machine, ...details } }
  if (error?.code === 'INTERNAL' && !error.fromPeer) log.error({ ...told, err: error }, 'a stream failed')
  else if (!admitted) log.info(told, 'stream refused')
  else log[head.kind === 'http' ? 'debug' : 'info'](told, 'stream over')
  if (admitted && via === undefined && hooks.has('onClose'))
    void hooks.notify('onClose', { ...context, error, durationMs })
}

/** Of a user who has gone: how many refusals were left out and told of by no later one. */
export function tellLeftOut(refusals: Refusals, userId: string, { audit }: PassageShared['services']): void {
  for (const [outcome, leftOut] of refusals.untold())
    audit.record({ event: 'stream.refused', userId, details: { outcome, leftOut } })
}

/** A plugin's own metrics or audit sink that throws must not keep the stream from ending. */
function contained({ log }: OpenContext, record: () => void): void {
  try {
    record()
  } catch (thrown) {
    log.error({ err: thrown }, 'what came of a stream could not be recorded')
  }
}
