import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { ChannelLease } from '../pool/index.ts'
import type { Log } from './log.ts'

/** What serving one stream needs of its surroundings. */
export interface ServeContext {
  readonly userId: string
  readonly machine: string
  readonly target: string | undefined
  readonly headers: Record<string, string>
  /** For sshd's answer to a channel, and for the head of a response. */
  readonly timeoutMs: number
  readonly log: Log
  /** A channel's place on an SSH connection to the machine. */
  acquire(signal: AbortSignal): Promise<ChannelLease>
  /** Such a place, and what `open` opens on its connection; again at another place where sshd takes no more. */
  open<Channel>(
    signal: AbortSignal,
    open: (connection: ChannelLease['connection']) => Promise<Channel>,
  ): Promise<{ lease: ChannelLease; channel: Channel }>
  /** Runs the onOpen hooks; undefined where there are none. */
  onOpen(): Promise<void> | undefined
  /** The head of a response is there. */
  onHead(latencyMs: number): void
}

/** What came of a stream. */
export interface Served {
  error: TunnelError | undefined
  /** Towards the machine. */
  bytesIn: number
  bytesOut: number
}
