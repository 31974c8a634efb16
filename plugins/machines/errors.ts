import { TunnelError } from '../../protocol/codec/errors.ts'
import { nearest } from '../../protocol/nearest.ts'

/** Each costs time, and whoever asks for what is not there may ask often. */
const MAX_LOOKED_AT = 50

/** The same text whether no such machine exists or another user has it, so that it reveals nothing. */
/** @param own names of the caller's machines, of which one may be meant */
export function machineUnknown(name: string, own: readonly string[]): TunnelError {
  const meant = nearest(name.slice(0, 80), own.slice(0, MAX_LOOKED_AT))
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  return new TunnelError('MACHINE_UNKNOWN', `you have no machine named ${name.slice(0, 80)}${hint}`, {
    hop: 'proxy',
  })
}

/** Some share a machine of this name with the caller, who has none. */
export function machineAmbiguous(name: string, owners: readonly string[]): TunnelError {
  const names = owners.slice(0, 3).map((owner) => `${owner}/${name}`)
  const message = `${owners.length} people share a machine named ${name} with you: say ${names.join(' or ')}`
  return new TunnelError('MACHINE_UNKNOWN', message, { hop: 'proxy', suggestion: 'name its owner too' })
}

/** What the caller may use, and somebody else decides about. */
export function ownerOnly(owner: string, name: string): TunnelError {
  const message = `${name} belongs to ${owner}, who alone can change anything about it`
  return new TunnelError('FORBIDDEN', message, { hop: 'proxy', suggestion: `ask ${owner}` })
}

export function machineOffline(name: string): TunnelError {
  return new TunnelError('MACHINE_OFFLINE', `${name} is not on line: its agent is not connected`, {
    hop: 'proxy',
    retryAfterMs: 5_000,
  })
}

export function nameInvalid(name: string): TunnelError {
  const shown = JSON.stringify(name.slice(0, 80))
  return new TunnelError(
    'CONFIG_INVALID',
    `machine = ${shown}: a name has 1 to 63 lower-case letters, digits, "-" and "."`,
    { hop: 'proxy' },
  )
}

export function takenByConfiguration(name: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `${name} is the name of a configured host`, { hop: 'proxy' })
}

export function tooManyMachines(max: number): TunnelError {
  return new TunnelError('TOO_MANY_CONNECTIONS', `a user of this tier may have at most ${max} machines`, {
    hop: 'proxy',
    suggestion: 'remove one with `tunnel machines --forget NAME`, or give the agent a token of a higher tier',
  })
}

export function takenOver(name: string): TunnelError {
  return new TunnelError('TAKEN_OVER', `another agent has taken the name ${name}`, { hop: 'proxy' })
}

export function nothingToTrust(name: string): TunnelError {
  return new TunnelError(
    'MACHINE_OFFLINE',
    `${name} has reported no host key that could be trusted: start its agent`,
    {
      hop: 'proxy',
    },
  )
}

export function showsOthers(name: string, shown: readonly string[]): TunnelError {
  const text = `${name} shows ${shown.join(', ')} now, and not what was to be trusted: compare again`
  return new TunnelError('HOST_KEY_CHANGED', text, { hop: 'proxy' })
}

export function tokenStale(name: string): TunnelError {
  return new TunnelError(
    'MACHINE_OFFLINE',
    `the token of the agent of ${name} has expired: give it a new one`,
    {
      hop: 'proxy',
    },
  )
}

export function hostUnreachable(name: string, cause: NodeJS.ErrnoException): TunnelError {
  if (cause instanceof TunnelError) return cause
  const code = cause.code === 'ENOTFOUND' || cause.code === 'EAI_AGAIN' ? 'DNS_FAILED' : 'CONNECT_REFUSED'
  const reason = cause.code ?? 'it has no address'
  return new TunnelError(code, `the host of ${name} could not be reached (${reason})`, {
    cause,
    hop: 'target',
  })
}

/** The configured name of a host was made to lead where nobody may go. */
export function hostForbidden(name: string): TunnelError {
  const message = `the host of ${name} leads to this proxy itself or to a metadata address, which is never reached`
  return new TunnelError('POLICY_DENIED', message, { hop: 'proxy' })
}

export function hostSilent(name: string): TunnelError {
  return new TunnelError('TIMEOUT', `the host of ${name} did not answer`, { hop: 'target' })
}

export function removed(name: string): TunnelError {
  return new TunnelError('TAKEN_OVER', `${name} was removed by its owner`, { hop: 'proxy' })
}

/** The pins were lost (the state folder was damaged), so what the agent reports now may not be what was pinned. */
export function keysUntrusted(name: string): TunnelError {
  return new TunnelError(
    'HOST_KEY_CHANGED',
    `the pinned host keys of ${name} were lost: compare those that it shows now, then trust them ` +
      `(tunnel machines --trust ${name})`,
    { hop: 'proxy' },
  )
}

export function greetingMissing(afterMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `the SSH server said nothing within ${afterMs} ms`, { hop: 'ssh' })
}

export function greetingWrong(): TunnelError {
  return new TunnelError('SSH_HANDSHAKE_FAILED', 'the SSH server closed the connection at once', {
    hop: 'ssh',
  })
}

/** Two replicas have met a new machine at once: the next attempt finds what the other one has pinned. */
export function metElsewhere(name: string): TunnelError {
  const text = `another replica enrols ${name} just now`
  return new TunnelError('STATE_UNAVAILABLE', text, { hop: 'proxy', retryAfterMs: 1_000 })
}

/** What the name stands for on the machine cannot be found out, and sshd is not trusted to find out by itself. */
export function agentOutdated(machine: string, name: string): TunnelError {
  const text = `the agent of ${machine} is of an earlier version and cannot say where ${name} leads: update it (or have a rule allow ${name} itself)`
  return new TunnelError('VERSION_UNSUPPORTED', text, {
    hop: 'agent',
    suggestion: 'update the agent on that machine, or use an address',
  })
}

export function lookupAborted(): TunnelError {
  return new TunnelError('ABORTED', 'nobody waits for the name to be resolved any more', { hop: 'proxy' })
}
