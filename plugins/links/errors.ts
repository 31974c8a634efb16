import { TunnelError } from '../../protocol/codec/errors.ts'
import { SUBPROTOCOL } from '../../protocol/codec/hello.ts'
import { SUCCESSOR_MS, shuttingDown } from '../../protocol/codec/shutting-down.ts'

/** Told apart from a version that is not spoken: what stands before the proxy may have taken the upgrade away. */
export function notAnUpgrade(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'this route is a WebSocket: an upgrade was expected', {
    hop: 'proxy',
  })
}

export function subprotocolMissing(): TunnelError {
  return new TunnelError('VERSION_UNSUPPORTED', `the subprotocol ${SUBPROTOCOL} was not offered`, {
    hop: 'proxy',
  })
}

export function sessionUnknown(): TunnelError {
  return new TunnelError('SESSION_UNKNOWN', 'the link that these bytes are for is over, or is not yours', {
    hop: 'proxy',
  })
}

export function offsetInvalid(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'tunnel-offset is not a number of bytes', { hop: 'proxy' })
}

export function offsetAhead(offset: number, receivedBytes: number): TunnelError {
  const message = `bytes from ${offset} on have come, and those from ${receivedBytes} on have not`
  return new TunnelError('REQUEST_INVALID', message, { hop: 'proxy' })
}

export function postTooLarge(max: number): TunnelError {
  return new TunnelError('REQUEST_INVALID', `a post has at most ${max} bytes`, { hop: 'proxy' })
}

export function tooManyPosts(max: number): TunnelError {
  return new TunnelError('RATE_LIMITED', `a link may have at most ${max} posts under way`, {
    hop: 'proxy',
    retryAfterMs: 1_000,
  })
}

export function wrongRole(said: string, route: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `HELLO says ${said.slice(0, 20)} on the route of a ${route}`, {
    hop: 'proxy',
  })
}

export function machineMissing(): TunnelError {
  return new TunnelError('FRAME_INVALID', "an agent's HELLO lacks its machine or its enrolment", {
    hop: 'proxy',
  })
}

export function tooManyLinks(max: number, tier: string): TunnelError {
  return new TunnelError('TOO_MANY_CONNECTIONS', `a user of tier ${tier} may have at most ${max} links`, {
    hop: 'proxy',
    retryAfterMs: 4_000,
  })
}

/** The agent wants a link to another replica beside that to this one. */
export function alreadyHome(): TunnelError {
  return new TunnelError('ALREADY_HOME', 'the agent has a link to this replica', {
    hop: 'proxy',
    retryAfterMs: 0,
  })
}

export function agentMayNotOpen(): TunnelError {
  return new TunnelError(
    'FORBIDDEN',
    'a token with the role agent cannot open streams; use one without that role',
    {
      hop: 'proxy',
    },
  )
}

/** The token was given out for one machine alone. */
export function otherMachine(bound: string, name: string): TunnelError {
  const message = `this token is for the machine ${bound} alone, and not for ${name.slice(0, 80)}`
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy' })
}

export function otherUser(): TunnelError {
  return new TunnelError('TOKEN_INVALID', 'the fresh token belongs to another user than the link', {
    hop: 'proxy',
  })
}

export function agentRevoked(machine: string): TunnelError {
  return new TunnelError('AGENT_LOST', `the token of the agent of ${machine} was revoked`, { hop: 'proxy' })
}

export function originRefused(origin: string): TunnelError {
  const message = `pages of ${origin.slice(0, 80)} may not connect (server.origins)`
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy' })
}

/** This proxy leaves, and after a moment another one answers at its address. */
export function leaving(retryAfterMs = SUCCESSOR_MS): TunnelError {
  return shuttingDown(retryAfterMs)
}

export function newcomerGone(): TunnelError {
  return new TunnelError('ABORTED', 'the connection was closed while it waited for its turn', {
    hop: 'proxy',
  })
}

/** @param retryAfterMs when it may be its turn */
export function tooManyNewcomers(retryAfterMs: number): TunnelError {
  return new TunnelError('OVERLOADED', 'too many links are being made at once', {
    hop: 'proxy',
    retryAfterMs,
  })
}
