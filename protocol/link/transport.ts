import type { TunnelError } from '../codec/errors.ts'
import type { Reach } from '../options.ts'

/** How long the end of a connection may take, in ms: a peer's half of the closing handshake, and what is still on its way. */
export const CLOSE_TIMEOUT_MS = 2_000
/** What a close reason may have (RFC 6455, section 5.5.1). */
export const MAX_REASON_BYTES = 123
/**
 * How many times as long as a connection what follows it may take: a proxy that has taken the connection may be busy with a
 * hundred others, and dialling it again is more work for it.
 */
export const BUSY_FACTOR = 2
/** Of the document with which a proxy refuses a link, at most so much is read. */
export const MAX_REFUSAL_BYTES = 16_384

/** `local` is the socket of `tunnel up`. */
export type TransportKind = 'websocket' | 'http' | 'local'

/** What a link needs of whatever carries its frames: a WebSocket, HTTP streaming, or an in-memory pair in a test. */
export interface Transport {
  /** @default 'websocket' */
  readonly kind?: TransportKind
  /** Why it is no WebSocket, where that has just been found out. */
  readonly detour?: TunnelError | undefined
  /** Set by the link, before anything is received. */
  receiver: TransportReceiver | undefined
  /**
   * Sends one binary message; takes ownership of `frame`'s memory. A transport that has closed drops it.
   * `compressible`: it may be compressed, where that was negotiated. @default false
   */
  send(frame: Uint8Array, compressible?: boolean): void
  /** Bytes handed to `send` that have not left this process. */
  readonly bufferedBytes: number
  /** The same in messages, each of which keeps far more than its bytes where they are few. @default not known: 0 */
  readonly unsentFrames?: number
  /** Starts the closing handshake; `receiver.closed` follows. */
  close(code: number, reason: string): void
  /** Drops the connection now; `receiver.closed` follows. */
  terminate(): void
  /** Stops reading from the peer, so that it feels backpressure; `resume` undoes it. */
  pause(): void
  resume(): void
}

export interface TransportReceiver {
  /** One message. The link owns `frame`'s memory from here on. */
  message(frame: Uint8Array): void
  /** A text message, which the protocol does not have. */
  text(): void
  /** `bufferedBytes` has gone down. */
  drained(): void
  /** Called once. `code` is the WebSocket close code (RFC 6455, section 7.4), 1006 when there was none. */
  closed(code: number, reason: string): void
}

export interface CompressionChoice {
  /** Messages from this size on are compressed, in bytes. */
  thresholdBytes: number
}

export interface DialOptions {
  headers?: Record<string, string>
  /** For the name and the connection, in ms; TLS and the upgrade have twice as long, since somebody is there. */
  timeoutMs: number
  maxFrameBytes: number
  signal?: AbortSignal
  compression?: CompressionChoice | undefined
  /** By what the proxy is reached, and how it is known. @default the environment's HTTP proxy, the public authorities */
  reach?: Reach | undefined
  /** Which of the host's addresses is meant. @default any */
  address?: string | undefined
}

/** A refusal of the proxy's own that no WebSocket has brought. */
export interface DetouredError extends TunnelError {
  /** Why none did, where that has just been found out. */
  detour?: TunnelError
}

/** Opens what carries a link's frames. Rejects with a TunnelError. */
export interface Dial {
  (url: string, options: DialOptions): Promise<Transport>
  /** Nothing came over what it has opened. True: it opens something else the next time, which is worth trying at once. */
  silent?(url: string, options: DialOptions): boolean
}

/** The same to a process beside this one that knows who we are; undefined where there is none. */
export type DialNear = (maxFrameBytes: number) => Promise<Transport | undefined>

/** As the global `fetch`, of which no redirect is followed. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>
