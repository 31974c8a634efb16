import { TunnelError } from '../../protocol/codec/errors.ts'

/** The same words whether nobody has such a machine or somebody else has. */
export function machineUnknown(name: string): TunnelError {
  return new TunnelError('MACHINE_UNKNOWN', `no machine of yours is named ${name.slice(0, 80)}`, {
    hop: 'proxy',
  })
}

export function agentMayNotChange(): TunnelError {
  return new TunnelError('FORBIDDEN', "a token of an agent changes nothing: use one of the machine's owner", {
    hop: 'proxy',
  })
}
