import { TunnelError } from '../../protocol/codec/errors.ts'
import { SUCCESSOR_MS } from '../../protocol/codec/shutting-down.ts'

/** LevelDB lets one process in; a second proxy on the same folder would lose the first one's pins. */
export function folderInUse(dir: string, cause: unknown): TunnelError {
  const text = `another proxy uses the state folder ${dir}; stop it, or give this one its own (--set state.dir=…)`
  return new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
}

export function folderUnusable(dir: string, cause: unknown): TunnelError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  const text = `the state folder ${dir} cannot be used: ${reason}`
  return new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
}

/** While the proxy drains, the folder already belongs to whatever takes its place. */
export function handedOver(): TunnelError {
  const text = 'the proxy is shutting down: its state belongs to its successor already'
  return new TunnelError('SHUTTING_DOWN', text, { hop: 'proxy', retryAfterMs: SUCCESSOR_MS })
}

/** Redis is away, slow, or cannot write; users are not told where it is, so what it said is the cause alone. */
export function redisAway(cause: Error): TunnelError {
  const text = 'the records that replicas share cannot be reached just now'
  return new TunnelError('STATE_UNAVAILABLE', text, { cause, hop: 'proxy', retryAfterMs: 2_000 })
}

/**
 * At the start, to the operator.
 * @param isTls whether it was asked for TLS, where it seems to want the other way
 */
export function redisUnreachable(cause: Error, isTls?: boolean): TunnelError {
  const hint =
    isTls === undefined
      ? ''
      : isTls
        ? '; if it does not speak TLS, its address begins with redis://'
        : '; if it speaks TLS, its address begins with rediss://'
  const text = `Redis (state.redisUrl) cannot be reached: ${cause.message}${hint}`
  return new TunnelError('STATE_UNAVAILABLE', text, { cause, hop: 'proxy', retryAfterMs: 2_000 })
}

export function redisRefuses(cause: Error): TunnelError {
  const text = `Redis does not let us in (user, password, database and rights are those of state.redisUrl): ${cause.message}`
  return new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
}

/** Tickets and the like wait for their end: until then there is no room for another. */
export function stateFull(): TunnelError {
  const text = 'too many short-lived records are kept already'
  return new TunnelError('STATE_UNAVAILABLE', text, { hop: 'proxy', retryAfterMs: 5_000 })
}
