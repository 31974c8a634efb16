import { TunnelError } from '../../protocol/codec/errors.ts'

export function sessionUnknown(): TunnelError {
  return new TunnelError('UNKNOWN_STREAM', 'you have no open stream of this id', { hop: 'proxy' })
}

/** Whoever has a machine has its agent's token. */
export function agentMayNotSee(): TunnelError {
  const text = 'a token with the role agent does not see what its owner does: use a token without that role'
  return new TunnelError('FORBIDDEN', text, { hop: 'proxy' })
}

export function looksAtTooMuch(max: number): TunnelError {
  const text = `you are watching ${max} streams already, the most that a user may`
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'proxy', retryAfterMs: 5_000 })
}

export function endedByRequest(isOwn: boolean): TunnelError {
  const text = isOwn
    ? 'the stream was ended as its user asked'
    : 'an administrator of the proxy ended the stream'
  return new TunnelError('ABORTED', text, { hop: 'proxy' })
}

export function linkUnknown(): TunnelError {
  return new TunnelError('UNKNOWN_STREAM', 'you have no link of this id', { hop: 'proxy' })
}

/** Its peer dials again, unless its token was revoked before. */
export function linkEndedByRequest(isOwn: boolean): TunnelError {
  const text = isOwn ? 'the link was ended as its user asked' : 'an administrator of the proxy ended the link'
  return new TunnelError('LINK_LOST', text, { hop: 'proxy' })
}

export function watchedElsewhere(replica: string): TunnelError {
  const text = `the stream is at the replica ${replica}, and can be watched there alone`
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}

export function versionMissing(): TunnelError {
  const text = 'If-Match has to name the version that is changed: the ETag of GET config'
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}

export function versionChanged(): TunnelError {
  const text = 'the settings have changed since they were read: read them again, then change them'
  return new TunnelError('CONFIG_CHANGED', text, { hop: 'proxy' })
}

/** What the settings refuse is a fault of the request here. */
export function changeRefused(cause: TunnelError): TunnelError {
  return new TunnelError('REQUEST_INVALID', cause.message, { hop: 'proxy', cause })
}

/** Behind one port are several processes, of which the request reached one. */
export function patchOfOne(): TunnelError {
  const text =
    'this proxy is several workers (--workers), of which a patch would reach one: change its settings, and send it SIGHUP'
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}
