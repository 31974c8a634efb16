import { TunnelError } from '../../protocol/codec/errors.ts'

export function agentMayNotChange(): TunnelError {
  return new TunnelError('FORBIDDEN', "a token of an agent changes nothing: use one of the machine's owner", {
    hop: 'proxy',
  })
}
