import { errorFromWire, isDuration, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType, HEADER_BYTES } from '../codec/frames.ts'
import { checkHello } from '../codec/hello.ts'
import type { LinkChannels } from './channels.ts'
import type { Greeting } from './greeting.ts'
import type { LinkHandlers } from './handlers.ts'
import type { Liveness } from './liveness.ts'
import type { StreamRequests } from './requests.ts'

/** What the frames of a link are for. */
export interface LinkParts {
  readonly maxFrameBytes: number
  readonly channels: LinkChannels
  readonly requests: StreamRequests
  readonly greeting: Greeting
  readonly liveness: Liveness
  readonly handlers: LinkHandlers
}

/** Brings each frame of a link to what it is for. */
export class LinkFrames {
  readonly #parts: LinkParts

  constructor(parts: LinkParts) {
    this.#parts = parts
  }

  /** @throws {TunnelError} for what ends the link */
  dispatch(frame: Uint8Array): void {
    if (frame.length < HEADER_BYTES)
      throw new TunnelError('FRAME_INVALID', 'a frame has no header', { hop: 'link' })
    if (frame.length > this.#parts.maxFrameBytes) {
      throw new TunnelError('FRAME_TOO_LARGE', `a frame of ${frame.length} bytes`, { hop: 'link' })
    }
    const typeByte = frame[0]!
    const type = typeByte & frames.TYPE_MASK
    const number = frames.streamNumber(frame)
    if (number !== 0) {
      const channel = this.#parts.channels.at(number)
      // OPEN and RESUME are never for a number that is in use.
      if (channel !== undefined && type !== FrameType.OPEN && type !== FrameType.RESUME) {
        if (!frames.isKnownType(typeByte) || type < FrameType.OPEN) throw unknownType(typeByte)
        channel.frame(typeByte, frame)
        return
      }
    }
    if (!frames.isKnownType(typeByte)) throw unknownType(typeByte)
    if (this.#parts.greeting.peer === undefined && type !== FrameType.HELLO) {
      throw new TunnelError('FRAME_INVALID', 'the first frame is not HELLO', { hop: 'link' })
    }
    if ((number === 0) !== type < FrameType.OPEN) {
      throw new TunnelError('FRAME_INVALID', `a frame of type ${type} on stream ${number}`, { hop: 'link' })
    }
    if (number === 0) this.#linkFrame(type, frame)
    else this.#unboundFrame(typeByte, number, frame)
  }

  #linkFrame(type: number, frame: Uint8Array): void {
    const { liveness, greeting, handlers } = this.#parts
    switch (type) {
      case FrameType.PING:
        return liveness.ping(frame)
      case FrameType.PONG:
        return liveness.pong(frame)
      case FrameType.HELLO:
        return greeting.receive(checkHello(frames.decodeJson(frame)))
      case FrameType.AUTH: {
        const { token } = frames.decodeJson(frame)
        if (typeof token !== 'string')
          throw new TunnelError('FRAME_INVALID', 'AUTH has no token', { hop: 'link' })
        return handlers.auth?.(token)
      }
      case FrameType.MESH: {
        if (handlers.mesh === undefined)
          throw new TunnelError('FRAME_INVALID', 'MESH is for links between replicas', { hop: 'link' })
        return handlers.mesh(frames.decodeJson(frame))
      }
      default: {
        const body = frames.decodeJson(frame)
        const deadlineMs = isDuration(body.deadlineMs) ? body.deadlineMs : 0
        handlers.goaway?.({ ...errorFromWire(body).toWire(), deadlineMs })
      }
    }
  }

  /** A frame for a number that nothing stands behind: a new stream, or a late word to one that is over. */
  #unboundFrame(typeByte: number, number: number, frame: Uint8Array): void {
    const { channels, requests } = this.#parts
    const type = typeByte & frames.TYPE_MASK
    if (type === FrameType.OPEN || type === FrameType.RESUME) {
      channels.takePeerNumber(number)
      requests.receive(typeByte, number, frame)
    } else if (!channels.wasUsed(number)) {
      throw new TunnelError('FRAME_INVALID', `stream ${number} was never opened on this link`, {
        hop: 'link',
      })
    }
  }
}

function unknownType(typeByte: number): TunnelError {
  return new TunnelError('FRAME_INVALID', `0x${typeByte.toString(16)} is not a frame type with its flags`, {
    hop: 'link',
  })
}
