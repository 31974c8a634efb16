import { TunnelError } from '../../protocol/codec/errors.ts'
import type { Decision, PolicyRequest } from './decision.ts'

/** What a decision refuses. */
export function refused({ code = 'POLICY_DENIED', reason }: Decision, request: PolicyRequest): TunnelError {
  const { kind, machine, target } = request
  const what = target === undefined ? `${kind} to ${machine}` : `${kind} to ${machine} (${target})`
  return new TunnelError(code, `policy refuses ${what}: ${reason}`, { hop: 'proxy' })
}

export function policyLate(ms: number): TunnelError {
  const message = `the policy of this proxy, which is a plugin's, did not decide within ${ms} ms`
  return new TunnelError('TIMEOUT', message, { hop: 'proxy' })
}

/** @param what of the policy: `sharedWith`, or the `includes` of what that brought */
export function sharedFailed(what: string, cause: unknown): TunnelError {
  const why = cause instanceof Error ? cause.message : String(cause)
  const message = `${what} of the policy of this proxy, which is a plugin's, failed: ${why}`
  return new TunnelError('INTERNAL', message, { hop: 'proxy', cause })
}

/** @param where the setting, as `policy.rules[0].targets[1]` */
export function targetInvalid(where: string, text: string): TunnelError {
  const shown = JSON.stringify(text.slice(0, 80))
  const message = `${where} = ${shown}: a target is HOST:PORT, with a name, an address, a glob or a network (10.0.0.0/8) and a port, a range or *`
  return new TunnelError('CONFIG_INVALID', message, { hop: 'proxy' })
}
