import type { Clock } from '../clock.ts'
import { TunnelError } from '../codec/errors.ts'
import { FrameType, HEADER_BYTES, newFrame } from '../codec/frames.ts'
import { type Hello, stricterHeartbeat } from '../codec/hello.ts'
import { Heartbeat } from './heartbeat.ts'

export interface LivenessOptions {
  clock: Clock
  heartbeat: Hello['heartbeat']
  send(frame: Uint8Array): void
  /** Whether the link is being read. */
  listening(): boolean
  /** Once per beat; `readToMs`: the peer has read all that was sent before. Returns whether to ask for a later one. */
  tick(nowMs: number, readToMs: number): boolean
  lost(silentMs: number): void
  rtt: ((ms: number, sentAtMs: number) => void) | undefined
}

/** Whether the peer is there, and how far it has read: PING and PONG. */
export class Liveness {
  readonly #options: LivenessOptions
  readonly #heartbeat: Heartbeat
  /** When the last PING that was answered had been sent. */
  #readToMs = Number.NEGATIVE_INFINITY
  #rttMs: number | undefined

  constructor(options: LivenessOptions) {
    this.#options = options
    const { clock, heartbeat, lost, listening } = options
    const ping = (): void => this.#ping()
    this.#heartbeat = new Heartbeat(
      { ping, lost, listening, beat: (now) => this.#beat(now) },
      clock,
      heartbeat,
    )
  }

  get rttMs(): number | undefined {
    return this.#rttMs
  }

  received(): void {
    this.#heartbeat.received()
  }

  probe(withinMs: number): void {
    this.#heartbeat.probe(withinMs)
  }

  /** The peer has said how it beats: the stricter of both holds. */
  agree(theirs: Hello['heartbeat']): void {
    this.#heartbeat.set(stricterHeartbeat(this.#options.heartbeat, theirs))
  }

  stop(): void {
    this.#heartbeat.stop()
  }

  #ping(): void {
    const { clock, send } = this.#options
    const frame = newFrame(FrameType.PING, 0, 8)
    new DataView(frame.buffer, frame.byteOffset).setFloat64(HEADER_BYTES, clock.now())
    send(frame)
  }

  #beat(nowMs: number): void {
    if (this.#options.tick(nowMs, this.#readToMs)) this.#ping()
  }

  /** @throws {TunnelError} FRAME_INVALID */
  ping(frame: Uint8Array): void {
    if (frame.length !== HEADER_BYTES + 8)
      throw new TunnelError('FRAME_INVALID', 'PING is not 8 bytes', { hop: 'link' })
    frame[0] = FrameType.PONG
    this.#options.send(frame)
  }

  /** @throws {TunnelError} FRAME_INVALID */
  pong(frame: Uint8Array): void {
    if (frame.length !== HEADER_BYTES + 8)
      throw new TunnelError('FRAME_INVALID', 'PONG is not 8 bytes', { hop: 'link' })
    const sentAtMs = new DataView(frame.buffer, frame.byteOffset).getFloat64(HEADER_BYTES)
    const now = this.#options.clock.now()
    // Not one of ours.
    if (!(sentAtMs > this.#readToMs && sentAtMs <= now)) return
    this.#readToMs = sentAtMs
    this.#rttMs = now - sentAtMs
    this.#options.rtt?.(this.#rttMs, sentAtMs)
  }
}
