import type { JoinEvents, TunnelService } from '../../client/index.ts'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import type { Joined } from '../../protocol/node/join.ts'

/** `sealed`: the agent makes the connection and the proxy relays it. `inspected`: the proxy has the machine's sshd make it. */
export type Mode = 'sealed' | 'inspected'

const KINDS = { sealed: 'ssh', inspected: 'tcp' } as const

/** What one connection is for, and what becomes of it. */
export interface Leg extends JoinEvents {
  machine: string
  target: string
  socket: Joined
  signal: AbortSignal
}

/**
 * How the connections to one target go. Where the person has not said, the agent decides at the first of them: sealed if
 * it allows the target. What has been decided, and told, holds: a way that was sealed never becomes an inspected one.
 */
export class Way {
  readonly #onDecided: (mode: Mode) => void
  #mode: Mode | undefined

  constructor(mode: Mode | undefined, onDecided: (mode: Mode) => void = () => {}) {
    this.#mode = mode
    this.#onDecided = onDecided
  }

  get mode(): Mode | undefined {
    return this.#mode
  }

  /** Carries one connection; resolves when the far side has accepted. @throws {TunnelError} */
  async join(tunnel: TunnelService, leg: Leg): Promise<void> {
    const mode = this.#mode
    if (mode !== undefined) return join(tunnel, leg, mode)
    try {
      await join(tunnel, leg, 'sealed')
      this.#decide('sealed')
    } catch (error) {
      if (isBeyondAgent(error)) this.#decide('sealed')
      if (!isRefused(error) || this.mode === 'sealed') throw error
      await join(tunnel, leg, 'inspected').catch((failed) => {
        throw bothFailed(error, failed)
      })
      this.#decide('inspected')
    }
  }

  #decide(mode: Mode): void {
    if (this.#mode !== undefined) return
    this.#mode = mode
    this.#onDecided(mode)
  }
}

function join(tunnel: TunnelService, { machine, target, socket, signal, ...events }: Leg, mode: Mode) {
  return tunnel.join({ machine, kind: KINDS[mode], target, signal }, socket, events)
}

/** The agent, or the proxy's policy, lets no sealed stream to this target pass. */
function isRefused(error: unknown): error is TunnelError {
  return error instanceof TunnelError && error.code === 'POLICY_DENIED'
}

/** What an agent answers that allows the target and could not reach it. */
const BEYOND_AGENT: ReadonlySet<string> = new Set(['CONNECT_REFUSED', 'DNS_FAILED', 'TIMEOUT'])

function isBeyondAgent(error: unknown): boolean {
  return error instanceof TunnelError && error.hop === 'agent' && BEYOND_AGENT.has(error.code)
}

/** Either of the two may be what the person can put right. */
function bothFailed(refusal: TunnelError, failed: unknown): TunnelError {
  const { code, message, hop, retryAfterMs } = asTunnelError(failed, 'client')
  return new TunnelError(code, `${message}; and sealed: ${refusal.message}`, {
    cause: failed,
    hop,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  })
}
