import { TunnelError } from '../../protocol/codec/errors.ts'

export function agentMayNotConnect(): TunnelError {
  const message = 'a token with the role agent opens no client links, and gets no ticket for one'
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy' })
}

export function noIssuer(): TunnelError {
  const message = 'this proxy names no issuer to log in at: its operator issues tokens (auth.login.clientId)'
  return new TunnelError('ROUTE_UNKNOWN', message, { hop: 'proxy' })
}

export function notATarget(text: string): TunnelError {
  const message = `body/target = ${JSON.stringify(text.slice(0, 80))} is not host:port`
  return new TunnelError('REQUEST_INVALID', message, { hop: 'proxy' })
}

export function agentMayNotChange(): TunnelError {
  return new TunnelError(
    'FORBIDDEN',
    "a token with the role agent cannot change anything: use a token of the machine's owner",
    {
      hop: 'proxy',
    },
  )
}
