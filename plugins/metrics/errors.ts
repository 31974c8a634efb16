import { TunnelError } from '../../protocol/codec/errors.ts'

export function metricsTokenMissing(): TunnelError {
  const text = 'from another machine the metrics need a bearer token (setting metrics.token)'
  return new TunnelError('TOKEN_MISSING', text, { hop: 'proxy' })
}

export function metricsTokenWrong(): TunnelError {
  return new TunnelError('TOKEN_INVALID', 'this token does not open the metrics', { hop: 'proxy' })
}
