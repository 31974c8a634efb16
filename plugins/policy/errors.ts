import { TunnelError } from '../../protocol/codec/errors.ts'

export function policyDenied(what: string, reason: string): TunnelError {
  return new TunnelError('POLICY_DENIED', `policy refuses ${what}: ${reason}`, { hop: 'proxy' })
}
