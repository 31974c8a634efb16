import { TunnelError } from '../../protocol/errors.ts'

export function policyDenied(what: string, reason: string): TunnelError {
  return new TunnelError('POLICY_DENIED', `policy refuses ${what}: ${reason}`, { hop: 'proxy' })
}
