import { TunnelError } from '../../protocol/codec/errors.ts'

export function upgradeWithBody(): TunnelError {
  return new TunnelError('REQUEST_INVALID', 'only a GET without a body can ask for an upgrade', {
    hop: 'proxy',
  })
}

export function handshakeInvalid(cause: Error): TunnelError {
  return new TunnelError('REQUEST_INVALID', cause.message, { cause, hop: 'proxy' })
}
