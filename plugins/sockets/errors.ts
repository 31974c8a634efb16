import { TunnelError } from '../../protocol/codec/errors.ts'

export function certificateMissing(): TunnelError {
  const text = 'an agent has to show a certificate that an authority of server.tls.agentCa has signed'
  return new TunnelError('FORBIDDEN', text, { hop: 'proxy' })
}
