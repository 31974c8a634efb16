import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { parseTarget, type Target } from '../../protocol/codec/target.ts'
import { ResponseError } from './http/response-head.ts'

export function hookTimeout(name: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `a plugin's ${name} hook took longer than ${timeoutMs} ms`, {
    hop: 'proxy',
  })
}

export function hookWrong(what: string, names: readonly string[]): TunnelError {
  return new TunnelError(
    'CONFIG_INVALID',
    `${what}: app.tunnel.addHook takes ${names.join(', ')}, and a function`,
    {
      hop: 'proxy',
    },
  )
}

export function hookFailed(name: string, cause: unknown): TunnelError {
  return new TunnelError('INTERNAL', `a plugin's ${name} hook failed`, { hop: 'proxy', cause })
}

/** What an OPEN is answered with that has not been let in: whoever asked is to know that nothing was done. */
export function refusalOf({ code, message, hop, retryAfterMs, cause }: TunnelError): TunnelError {
  const options = { hop, cause, refused: true }
  return new TunnelError(code, message, retryAfterMs === undefined ? options : { ...options, retryAfterMs })
}

export function targetMissing(kind: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `${kind} needs a target: host:port on the machine's side`, {
    hop: 'proxy',
  })
}

/** @throws {TunnelError} FRAME_INVALID for what is not a target */
export function targetOf(text: string): Target {
  const target = parseTarget(text)
  if (target === undefined)
    throw new TunnelError('FRAME_INVALID', `"${text.slice(0, 80)}" is not a valid target: host:port`, {
      hop: 'proxy',
    })
  return target
}

export function methodRefused(method: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `${method} is not carried as a request; open a tcp stream`, {
    hop: 'proxy',
  })
}

export function targetClosed(target: string): TunnelError {
  return new TunnelError('CONNECT_REFUSED', `${target} closed the connection while bytes were on their way`, {
    hop: 'target',
  })
}

export function commandLost(machine: string): TunnelError {
  return new TunnelError('AGENT_LOST', `the command on ${machine} ended without a status`, { hop: 'ssh' })
}

export function headTimeout(target: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `${target} sent no response within ${timeoutMs} ms`, { hop: 'target' })
}

export function bodyTimeout(timeoutMs: number): TunnelError {
  const text = `the caller sent no more of the request's body within ${timeoutMs} ms`
  return new TunnelError('TIMEOUT', text, { hop: 'client' })
}

export function responseIdle(authority: string, idleMs: number): TunnelError {
  const text = `${authority} sent no more of its response within ${idleMs} ms`
  return new TunnelError('TIMEOUT', text, { hop: 'target' })
}

export function requestGone(): TunnelError {
  return new TunnelError('ABORTED', 'the request was given up', { hop: 'client' })
}

export function placeNeeded(machine: string): TunnelError {
  const text = `the SSH channel to ${machine} was given to another request while its client was away`
  return new TunnelError('POOL_EXHAUSTED', text, { hop: 'proxy' })
}

/** The same, of a request that was sent and must not be repeated. */
export function placeTaken(machine: string): TunnelError {
  const cause = placeNeeded(machine)
  const text = `${cause.message}; the request may have been executed`
  return new TunnelError('OUTCOME_UNKNOWN', text, { hop: 'proxy', cause })
}

export function tooManyStreams(max: number, tier: string): TunnelError {
  const message = `a user of tier ${tier} may have at most ${max} streams at once`
  return new TunnelError('TOO_MANY_STREAMS', message, { hop: 'proxy' })
}

export function idInUse(): TunnelError {
  return new TunnelError('FRAME_INVALID', "another stream of the user's has this id", { hop: 'proxy' })
}

export function unknownStream(): TunnelError {
  return new TunnelError('UNKNOWN_STREAM', 'the stream is not known here', { hop: 'proxy' })
}

export function vouchedForNobody(): TunnelError {
  const text = 'a replica hands over sealed streams alone, and says whose each is'
  return new TunnelError('FRAME_INVALID', text, { hop: 'proxy' })
}

/** A replica that hands a stream over says that it came through where it cannot have come through. */
export function relayedInCircles(through: string): TunnelError {
  const text = `a stream that is handed over did not come through ${JSON.stringify(through.slice(0, 128))}`
  return new TunnelError('FRAME_INVALID', text, { hop: 'proxy' })
}

export function tooManyRefusals(): TunnelError {
  return new TunnelError('RATE_LIMITED', 'too many refused requests for streams', { hop: 'proxy' })
}

export function hostHungUp(machine: string): TunnelError {
  return new TunnelError('CONNECT_REFUSED', `${machine} closed the connection at once`, { hop: 'target' })
}

export function configuredTarget(): TunnelError {
  return new TunnelError('POLICY_DENIED', 'a configured host can only be reached at its own address', {
    hop: 'proxy',
  })
}

/** @param isAdded a plugin would have to carry it; otherwise nobody has any business to ask for it */
export function notCarried(kind: string, isAdded: boolean): TunnelError {
  const code = isAdded ? 'KIND_UNKNOWN' : 'FRAME_INVALID'
  return new TunnelError(code, `this proxy does not carry streams of kind ${kind}`, { hop: 'proxy' })
}

export function neverAccepted(kind: string): TunnelError {
  const text = `what carries streams of kind ${kind} has ended without accepting this one`
  return new TunnelError('INTERNAL', text, { hop: 'proxy' })
}

export function requestInvalid(what: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `the request cannot be sent: ${what}`, { hop: 'proxy' })
}

export function bodyLengthWrong(declaredBytes: number, byteCount: number): TunnelError {
  return requestInvalid(`Content-Length is ${declaredBytes}, and the body has ${byteCount} bytes`)
}

/** A request that must not be repeated, on a connection that closed without a response. */
export function outcomeUnknown(target: string, cause: Error): TunnelError {
  return new TunnelError(
    'OUTCOME_UNKNOWN',
    `${target} ${cause.message}; the request may have been executed`,
    {
      hop: 'target',
      cause,
    },
  )
}

/** What ended a connection under its request: the service, or the SSH connection. */
export function exchangeFailed(error: Error, target: string): TunnelError {
  if (error instanceof ResponseError)
    return new TunnelError('CONNECT_REFUSED', `${target} ${error.message}`, { hop: 'target', cause: error })
  return asTunnelError(error, 'proxy')
}

export function windowOver(windowMs: number): TunnelError {
  const text = `the stream was not resumed within ${windowMs / 1_000} s; it may have gone on through another proxy`
  return new TunnelError('RESUME_EXPIRED', text, { hop: 'proxy' })
}

export function goneElsewhere(): TunnelError {
  return new TunnelError('TAKEN_OVER', 'the stream goes on through another proxy', { hop: 'proxy' })
}

/** Whoever asks to look on at it. */
export function sealedUnread(): TunnelError {
  const text = 'the stream is sealed from end to end: the proxy cannot read it, and so nobody can watch it'
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}

export function tooManyWatchers(): TunnelError {
  const text = 'this stream has as many watchers as it may have'
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'proxy' })
}
