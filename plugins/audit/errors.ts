import { TunnelError } from '../../protocol/codec/errors.ts'

export function cannotBeOpened(file: string, cause: unknown): TunnelError {
  const why = cause instanceof Error ? cause.message : String(cause)
  const text = `the audit trail ${file} cannot be opened: ${why}`
  return new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
}

export function cannotBeRecorded(): TunnelError {
  return new TunnelError('STATE_UNAVAILABLE', 'nothing can be recorded in the audit trail now', {
    hop: 'proxy',
    retryAfterMs: 5_000,
  })
}
