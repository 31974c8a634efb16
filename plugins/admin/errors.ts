import { TunnelError } from '../../protocol/codec/errors.ts'

export function sessionUnknown(): TunnelError {
  return new TunnelError('UNKNOWN_STREAM', 'you have no live stream of this id', { hop: 'proxy' })
}

export function endedByRequest(isOwn: boolean): TunnelError {
  const text = isOwn
    ? 'the stream was ended as its user asked'
    : 'an administrator of the proxy ended the stream'
  return new TunnelError('ABORTED', text, { hop: 'proxy' })
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
