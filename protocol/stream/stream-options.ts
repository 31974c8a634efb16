import type { Clock } from '../clock.ts'
import type { TunnelError } from '../codec/errors.ts'
import type { RoutedHead } from '../codec/heads.ts'
import type { ReceiveLimits } from './receive-half.ts'

/** The table that a stream belongs to. */
export interface StreamOwner {
  /** Told once, when the stream is over. */
  onOver(error: TunnelError | undefined): void
  /** Whether there is a link on which the stream asks for its path (opener). */
  hasLink?(): boolean
  /** The stream has lost its path and wants another (opener). */
  onSuspended?(): void
  /** It has its path again (opener). */
  onResumed?(): void
  /** The acceptor does not know the stream (opener). Returns whether it goes on nevertheless. */
  onUnknown?(error: TunnelError): boolean
}

export interface StreamOptions {
  owner: StreamOwner
  side: 'opener' | 'acceptor'
  head: RoutedHead
  limits: ReceiveLimits
  /** How long this end keeps the stream without a link, in ms. */
  resumeMs: number
  clock: Clock
  /** The opener's first bytes, and whether they are all: they ride on OPEN. */
  first?: Uint8Array | undefined
  firstEnds?: boolean
}
