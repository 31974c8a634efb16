import { type ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'

export function circuitOpen(machine: string, retryAfterMs: number, cause: unknown): TunnelError {
  return new TunnelError(
    'CIRCUIT_OPEN',
    `${machine} failed several times in a row; the next attempt is possible in ${Math.ceil(retryAfterMs / 1_000)} s`,
    { hop: 'proxy', retryAfterMs, cause },
  )
}

/** What says that the machine cannot be reached. */
const FAILURES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'AGENT_LOST',
  'CONNECT_REFUSED',
  'DNS_FAILED',
  'TIMEOUT',
  'LINK_LOST',
  'SSH_HANDSHAKE_FAILED',
])

/** What only a machine that can be reached answers. */
const ANSWERS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SSH_AUTH_FAILED',
  'HOST_KEY_CHANGED',
  'POLICY_DENIED',
  'CHANNEL_OPEN_FAILED',
])

/**
 * - `failure`: counts towards opening;
 * - `success`: the machine answered, if only with a refusal;
 * - `neutral`: neither, for the attempt never got as far (given up, no place, known to be off line).
 */
export type Verdict = 'failure' | 'success' | 'neutral'

export function verdict(error: unknown): Verdict {
  if (!(error instanceof TunnelError)) return 'neutral'
  // No host key was known, so that nothing was tried; with its key the machine is there at once.
  if (error.code === 'SSH_HANDSHAKE_FAILED' && error.hop === 'agent') return 'neutral'
  if (FAILURES.has(error.code)) return 'failure'
  return ANSWERS.has(error.code) ? 'success' : 'neutral'
}
