import { TunnelError } from '../../protocol/codec/errors.ts'

export function agentMayNotChange(): TunnelError {
  return new TunnelError(
    'FORBIDDEN',
    "a token with the role agent cannot change anything: use a token of the machine's owner",
    {
      hop: 'proxy',
    },
  )
}
