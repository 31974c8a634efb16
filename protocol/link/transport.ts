/** What a link needs of whatever carries its frames: a WebSocket, or an in-memory pair in a test. */
export interface Transport {
  /** Set by the link, before anything is received. */
  receiver: TransportReceiver | undefined
  /**
   * Sends one binary message; takes ownership of `frame`'s memory. A transport that has closed drops it.
   * `compressible`: it may be compressed, where that was negotiated. @default false
   */
  send(frame: Uint8Array, compressible?: boolean): void
  /** Bytes handed to `send` that have not left this process. */
  readonly bufferedBytes: number
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
}

/** Opens what carries a link's frames. Rejects with a TunnelError. */
export type Dial = (url: string, options: DialOptions) => Promise<Transport>

/** The same to a process beside this one that knows who we are; undefined where there is none. */
export type DialNear = (maxFrameBytes: number) => Promise<Transport | undefined>
