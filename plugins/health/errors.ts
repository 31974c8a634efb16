import { TunnelError } from '../../protocol/codec/errors.ts'

export function overloaded(why: string, retryAfterMs: number): TunnelError {
  const text = `this proxy takes no new streams for a while: ${why}`
  return new TunnelError('OVERLOADED', text, { hop: 'proxy', retryAfterMs })
}
