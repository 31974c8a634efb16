import type { Clock } from '../../protocol/clock.ts'
import type { Target } from '../../protocol/codec/target.ts'
import type { ChannelLease } from '../pool/index.ts'
import type { NameCheck } from '../ssh/index.ts'
import type { Log } from './log.ts'

/** What carrying one stream needs of its surroundings. */
export interface ServeContext {
  readonly userId: string
  readonly owner: string
  readonly machine: string
  readonly target: Target | undefined
  /** Where the target's name may lead: for `connection.openTcp`. */
  readonly names: NameCheck
  readonly headers: Record<string, string>
  /** For sshd's answer to a channel, and for the head of a response. */
  readonly timeoutMs: number
  /** For more of a request's body. */
  readonly bodyMs: number
  /** For more of a response that has begun. */
  readonly idleMs: number
  readonly clock: Clock
  readonly log: Log
  /** A channel's place on an SSH connection to the machine. */
  acquire(signal: AbortSignal): Promise<ChannelLease>
  /** Such a place, and what `open` opens on its connection; again at another place where sshd takes no more. */
  open<Channel>(
    signal: AbortSignal,
    open: (connection: ChannelLease['connection']) => Promise<Channel>,
  ): Promise<{ lease: ChannelLease; channel: Channel }>
  /** The way to the machine stands: runs the onOpen hooks; undefined where there are none. */
  onOpen(): Promise<void> | undefined
  /** Bytes may flow. */
  onAccepted(): void
  /** The head of a response is there. */
  onHead(): void
  /** Payload; `in` is towards the machine. */
  carried(direction: 'in' | 'out', byteCount: number): void
  /** The stream has lost its opener's link; `resumed` follows when it is back. */
  suspended(): void
  resumed(): void
}
