import { TunnelError } from '../../protocol/codec/errors.ts'

export function storeFailed(what: string, cause: unknown): TunnelError {
  let root = cause
  while (root instanceof Error && root.cause instanceof Error) root = root.cause
  const reason = root instanceof Error ? root.message : String(root)
  return new TunnelError('STORE_FAILED', `${what}: ${reason}`, { cause, hop: 'client' })
}

/** What a program's own store throws has no code of ours. */
export function asStoreFailed(what: string, error: unknown): TunnelError {
  return error instanceof TunnelError ? error : storeFailed(what, error)
}

export function lockedBy(dir: string, cause: unknown): TunnelError {
  const text = `another program keeps its queue in ${dir}: give each a folder of its own, or hand requests over to it (handOver)`
  return new TunnelError('QUEUE_LOCKED', text, { cause, hop: 'client' })
}

export function configInvalid(what: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', what, { hop: 'client' })
}
