import { type ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { fingerprint } from '../../protocol/node/host-keys.ts'
import { MIN_SECRET_BYTES } from '../../protocol/node/secrets.ts'
import type { Pin } from './pins.ts'

/** RFC 4254, section 5.1. */
const ADMINISTRATIVELY_PROHIBITED = 1
const CONNECT_FAILED = 2
const RESOURCE_SHORTAGE = 4

export function masterSecretUnfit(byteLength: number): TunnelError {
  return new TunnelError(
    'CONFIG_INVALID',
    `ssh.masterSecret must have at least ${MIN_SECRET_BYTES} bytes, and has ${byteLength} (set TUNNEL_MASTER_SECRET)`,
    { hop: 'proxy' },
  )
}

export function tooManySecrets(max: number): TunnelError {
  const text = `ssh.masterSecret has more than ${max} lines: take out those that no machine knows any more`
  return new TunnelError('CONFIG_INVALID', text, { hop: 'proxy' })
}

export function algorithmUnknown(wrong: readonly string[]): TunnelError {
  return new TunnelError('CONFIG_INVALID', `ssh2 does not know ${wrong.join(', ')}`, { hop: 'proxy' })
}

export function algorithmWeak(wrong: readonly string[]): TunnelError {
  const text = `no SHA-1, CBC, MD5 or RC4 is spoken to machines: ${wrong.join(', ')}`
  return new TunnelError('CONFIG_INVALID', text, { hop: 'proxy' })
}

/** Nothing was dialled: the hop is the agent, which has to find the key first. */
export function noHostKeyKnown(machine: string): TunnelError {
  return new TunnelError(
    'SSH_HANDSHAKE_FAILED',
    `no host key of ${machine} is known: its agent has found no SSH server to ask`,
    { hop: 'agent' },
  )
}

export function hostKeyChanged(machine: string, shown: Buffer, pins: readonly Pin[]): TunnelError {
  const known = pins.map((pin) => fingerprint(pin.blob)).join(', ')
  return new TunnelError(
    'HOST_KEY_CHANGED',
    `${machine} shows the host key ${fingerprint(shown)}, but ${known} is pinned: ` +
      'if its owner changed it, it has to be trusted again (tunnel machines --trust); otherwise somebody may be in between',
    { hop: 'ssh' },
  )
}

export function authRefused(machine: string, sshUser: string, cause: unknown): TunnelError {
  return new TunnelError(
    'SSH_AUTH_FAILED',
    `${machine} did not let your key in as ${sshUser}: run "tunnel key --authorize" on it, ` +
      'or start its agent with --authorize',
    { hop: 'ssh', cause },
  )
}

export function handshakeFailed(machine: string, cause: unknown): TunnelError {
  const reason = cause instanceof Error ? cause.message : 'the connection closed before SSH was ready'
  const isOld = /no matching/i.test(reason)
  const more = isOld ? ": its SSH server speaks nothing of what the proxy's ssh.algorithms name" : ''
  return new TunnelError('SSH_HANDSHAKE_FAILED', `SSH with ${machine} failed: ${reason}${more}`, {
    hop: 'ssh',
    cause,
  })
}

export function connectTimeout(machine: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `${machine} was not ready for SSH within ${timeoutMs} ms`, { hop: 'ssh' })
}

export function connectionLost(machine: string, cause: unknown): TunnelError {
  // Whichever of the two is noticed first: the agent has not come back, or the stream to it has waited long enough.
  const isAgentGone = cause instanceof TunnelError && cause.code === 'RESUME_EXPIRED'
  if (cause instanceof TunnelError && !isAgentGone) return cause
  return new TunnelError('AGENT_LOST', `the SSH connection to ${machine} was lost`, { hop: 'ssh', cause })
}

export function aborted(what: string): TunnelError {
  return new TunnelError('ABORTED', `${what} was given up`, { hop: 'proxy' })
}

export function channelTimeout(what: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `${what} did not answer within ${timeoutMs} ms`, { hop: 'target' })
}

export function readsTooSlowly(machine: string, limitBytes: number): TunnelError {
  const text = `more than ${limitBytes / 1_048_576} MiB from ${machine} wait to be read, most of them by this stream`
  return new TunnelError('TOO_MANY_STREAMS', text, { hop: 'proxy' })
}

/**
 * The answer CHANNEL_OPEN_FAILURE to a direct-tcpip channel, by its reason code.
 * @param isNamed sshd was asked for an address of the target's name
 */
export function targetRefused(target: string, cause: unknown, isNamed = false): TunnelError {
  const reason = reasonOf(cause)
  if (reason === ADMINISTRATIVELY_PROHIBITED) {
    // Its PermitOpen, or permitopen on the key's line, may have the name.
    const more = isNamed ? ' by its address' : ''
    return new TunnelError('POLICY_DENIED', `the machine's sshd forbids forwarding to ${target}${more}`, {
      hop: 'ssh',
      cause,
    })
  }
  const code: ErrorCode = reason === CONNECT_FAILED ? 'CONNECT_REFUSED' : 'CHANNEL_OPEN_FAILED'
  const hop = reason === CONNECT_FAILED ? 'target' : 'ssh'
  return new TunnelError(code, `the machine cannot connect to ${target}: ${saidBy(cause)}`, { hop, cause })
}

/** The same for a session channel, whose CONNECT_FAILED says that sshd has too many (MaxSessions). */
export function sessionRefused(machine: string, does: string, cause: unknown): TunnelError {
  const code: ErrorCode =
    reasonOf(cause) === ADMINISTRATIVELY_PROHIBITED ? 'POLICY_DENIED' : 'CHANNEL_OPEN_FAILED'
  return new TunnelError(code, `${machine} does not ${does}: ${saidBy(cause)}`, { hop: 'ssh', cause })
}

/** Whether the server opens no channel because it has as many as it takes (MaxSessions): nothing was run. */
export function isFull(error: unknown): boolean {
  if (!(error instanceof TunnelError) || error.code !== 'CHANNEL_OPEN_FAILED') return false
  const reason = reasonOf(error.cause)
  // A target that cannot be reached has the reason CONNECT_FAILED too, and another code.
  return reason === CONNECT_FAILED || reason === RESOURCE_SHORTAGE
}

function reasonOf(cause: unknown): unknown {
  return typeof cause === 'object' && cause !== null && 'reason' in cause ? cause.reason : undefined
}

/** The machine's own words: ssh2 says in front of them what the code says already. */
function saidBy(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause)
  return text.replace(/^\(SSH\) Channel open failure: /, '')
}

/** The machine says that the name stands for what nobody may reach. */
export function nameForbidden(name: string): TunnelError {
  const text = `${name} leads to a link-local or metadata address, which is never reached`
  return new TunnelError('POLICY_DENIED', text, { hop: 'proxy' })
}
