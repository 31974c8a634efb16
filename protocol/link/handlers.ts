import type { TunnelError, WireError } from '../codec/errors.ts'
import type { ResumeHead, RoutedHead } from '../codec/heads.ts'
import type { Hello } from '../codec/hello.ts'
import type { Link } from './link.ts'

export interface Goaway extends WireError {
  /** The link closes by itself after this many ms. */
  deadlineMs: number
}

/** A peer's wish for a stream. Whoever handles it binds its number, or refuses, before it returns. */
export interface IncomingOpen {
  link: Link
  number: number
  /** It says nothing of what only a proxy can vouch for, unless the link's peer may (`LinkTrust`). */
  head: RoutedHead
  /** How long it was as JSON: what it costs whoever keeps it. */
  headBytes: number
  /** First bytes of data that rode on OPEN. */
  first: Uint8Array
  /** They are all: END rode on OPEN too. */
  ends: boolean
}

export interface IncomingResume {
  link: Link
  number: number
  head: ResumeHead
  headBytes: number
}

export interface LinkHandlers {
  /**
   * The peer has said HELLO, and has ours or gets it now: frames may flow. A listener may return a promise; its own
   * HELLO leaves when that resolves, and what it rejects with ends the link.
   */
  ready?(peer: Hello): void | Promise<void>
  open?(open: IncomingOpen): void
  resume?(resume: IncomingResume): void
  auth?(token: string): void
  goaway?(goaway: Goaway): void
  /** What one replica tells another; whoever has no handler takes none. It throws what ends the link. */
  mesh?(body: Record<string, unknown>): void
  /** A PING was answered after so many ms; it was sent then by the link's clock. */
  rtt?(ms: number, sentAtMs: number): void
  /** Once. The channels on it have been told before. */
  closed?(error: TunnelError): void
}
