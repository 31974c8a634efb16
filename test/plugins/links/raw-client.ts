import { once } from 'node:events'
import { WebSocket } from 'ws'
import * as frames from '../../../protocol/codec/frames.ts'
import { FrameType } from '../../../protocol/codec/frames.ts'
import type { Hello } from '../../../protocol/codec/hello.ts'
import type { Scope } from '../../support/scope.ts'

export interface RawOptions {
  url: string
  token?: string
  route?: 'connect' | 'agent' | 'relay'
  protocols?: string[]
}

/** A peer that may say whatever it likes. */
export class RawClient {
  readonly socket: WebSocket
  readonly received: Buffer[] = []
  readonly closed: Promise<{ code: number; reason: string }>
  #wake: () => void = () => {}

  constructor(scope: Scope, { url, token, route = 'connect', protocols = ['tunnel.v1'] }: RawOptions) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/api/tunnel/${route}`, protocols, { headers })
    this.socket.on('error', () => {})
    this.socket.on('message', (data: Buffer) => {
      this.received.push(data)
      this.#wake()
    })
    this.closed = new Promise((resolve) => {
      this.socket.once('close', (code, reason) => {
        resolve({ code, reason: String(reason) })
        this.#wake()
      })
    })
    scope.after(() => this.socket.terminate())
  }

  async opened(): Promise<this> {
    await once(this.socket, 'open')
    return this
  }

  /** Says HELLO and waits for the proxy's. */
  async hello(more: Partial<Hello> = {}): Promise<this> {
    await this.opened()
    this.json(FrameType.HELLO, 0, helloOf(more))
    await this.frame((frame) => frame[0] === FrameType.HELLO)
    return this
  }

  send(frame: Uint8Array): void {
    this.socket.send(frame)
  }
  json(type: FrameType, stream: number, value: unknown): void {
    this.send(frames.encodeJson(type, stream, value))
  }
  open(stream: number, head: Record<string, unknown>): void {
    this.send(frames.encodeHead(FrameType.OPEN, stream, { id: idOf(stream), window: 65_536, ...head }))
  }

  /** The first frame, of those that came or will, that matches. */
  async frame(matches: (frame: Buffer) => boolean): Promise<Buffer> {
    for (;;) {
      const found = this.received.find(matches)
      if (found !== undefined) return found
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error('the link closed before that frame')
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** The error with which a stream is refused or ended. */
  async resetOf(stream: number): Promise<Record<string, unknown>> {
    const isReset = (frame: Buffer) => frame[0] === FrameType.RESET && frames.streamNumber(frame) === stream
    return frames.decodeJson(await this.frame(isReset))
  }
}

/** A stream's id, the same for the same number. */
export function idOf(stream: number): string {
  return stream.toString(16).padStart(32, '0')
}

export function helloOf(more: Partial<Hello> = {}): Hello {
  return {
    role: 'client',
    version: 1,
    software: 'raw',
    heartbeat: { intervalMs: 30_000, timeoutMs: 45_000 },
    limits: { maxFrameBytes: 1_048_576, maxStreams: 256 },
    resumeMs: 120_000,
    ...more,
  }
}
