import { TunnelError } from '../../protocol/codec/errors.ts'

export function portInvalid(port: string): TunnelError {
  const text = `${JSON.stringify(port.slice(0, 40))} is not a port: 1 to 65535`
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}

export function codingUnknown(coding: string): TunnelError {
  const text = `the transfer coding ${JSON.stringify(coding.slice(0, 40))} is not accepted: send chunked, or a length`
  return new TunnelError('REQUEST_INVALID', text, { hop: 'proxy' })
}

export function upgradeWithBody(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'a request that asks for an upgrade cannot have a body', {
    hop: 'proxy',
  })
}

export function callerGone(): TunnelError {
  return new TunnelError('ABORTED', 'the caller closed the connection', { hop: 'client' })
}

export function tokenOver(): TunnelError {
  return new TunnelError('TOKEN_EXPIRED', 'the token has expired', { hop: 'proxy' })
}

export function notLoggedIn(): TunnelError {
  const text =
    'this address needs a ticket, which `tunnel open` puts into its URL, or a token in Authorization'
  return new TunnelError('TOKEN_MISSING', text, { hop: 'proxy' })
}

export function otherOrigin(): TunnelError {
  const text = 'a page of another origin asked for this, which a browser would do in your name'
  return new TunnelError('FORBIDDEN', text, { hop: 'proxy' })
}

export function otherUsersHost(): TunnelError {
  return new TunnelError('FORBIDDEN', 'this address belongs to another user', { hop: 'proxy' })
}

/** @param domain the setting gateway.host */
export function noHostForm(domain: string): TunnelError {
  const reason =
    domain === ''
      ? 'this proxy has no host names for services (its setting gateway.host is empty)'
      : 'this service has no host name: the name of the machine has a dot, or is too long'
  const text = `${reason}; \`tunnel forward 8080:MACHINE:127.0.0.1:PORT\` offers it at http://127.0.0.1:8080`
  return new TunnelError('CONFIG_INVALID', text, { hop: 'proxy' })
}

export function tooManyLogins(): TunnelError {
  const text = 'too many browsers of this user use a ticket at the same moment'
  return new TunnelError('RATE_LIMITED', text, { hop: 'proxy', retryAfterMs: 1_000 })
}
