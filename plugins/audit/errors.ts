import { TunnelError } from '../../protocol/codec/errors.ts'
import { fileReason } from '../../protocol/node/file-reason.ts'

export function cannotBeOpened(file: string, cause: unknown): TunnelError {
  const text = `the audit trail ${file} cannot be opened (${fileReason(cause)})`
  return new TunnelError('CONFIG_INVALID', text, { cause, hop: 'proxy' })
}

export function cannotBeRecorded(): TunnelError {
  return new TunnelError('STATE_UNAVAILABLE', 'nothing can be recorded in the audit trail now', {
    hop: 'proxy',
    retryAfterMs: 5_000,
  })
}
