import { TunnelError } from '../../protocol/codec/errors.ts'

/** The same words whether it was used, has expired, or never existed: whoever guesses learns nothing. */
export function codeInvalid(): TunnelError {
  const message = 'this code is not valid: it was used, has expired, or is mistyped'
  return new TunnelError('TICKET_INVALID', message, { hop: 'proxy' })
}

export function tooManyCodes(max: number, retryAfterMs: number): TunnelError {
  const message = `you have ${max} unused codes already, the most that a user may have`
  return new TunnelError('RATE_LIMITED', message, { hop: 'proxy', retryAfterMs })
}

export function tooManyAtOnce(): TunnelError {
  const message = 'too many of your codes are being made at once'
  return new TunnelError('RATE_LIMITED', message, { hop: 'proxy', retryAfterMs: 1_000 })
}

export function agentMayNotEnrol(): TunnelError {
  const message = "a token with the role agent cannot enrol a machine: use a token of the machine's owner"
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy' })
}

export function nameInvalid(name: string, rule: string): TunnelError {
  return new TunnelError('REQUEST_INVALID', `${JSON.stringify(name.slice(0, 80))}: ${rule}`, { hop: 'proxy' })
}
