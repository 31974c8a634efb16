import * as frames from '../../protocol/codec/frames.ts'
import { FrameType } from '../../protocol/codec/frames.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import { helloOf, type RawClient } from '../plugins/links/raw-client.ts'

/** What a frame comes to: its link is closed, a stream on it refused, something answered, or nothing. */
export type Outcome = 'ignored' | 'answered' | 'refused' | 'closed'

/** A frame of each type, about the stream `named`, as a peer might send it whom that does not belong to. */
export function foreignFrames(
  named: Omit<RoutedHead, 'window'>,
  token: string,
): Record<keyof typeof FrameType, Uint8Array> {
  const { encodeFrame, encodeHead, encodeJson } = frames
  return {
    HELLO: encodeJson(FrameType.HELLO, 0, helloOf()),
    PING: encodeFrame(FrameType.PING, 0, Buffer.alloc(8)),
    PONG: encodeFrame(FrameType.PONG, 0, Buffer.alloc(8)),
    AUTH: encodeJson(FrameType.AUTH, 0, { token }),
    MESH: encodeJson(FrameType.MESH, 0, {}),
    GOAWAY: encodeJson(FrameType.GOAWAY, 0, { code: 'SHUTTING_DOWN', message: '', deadlineMs: 1_000 }),
    OPEN: encodeHead(FrameType.OPEN, 1, { ...named, window: 65_536 }),
    ACCEPT: encodeHead(FrameType.ACCEPT, 1, { window: 1 }),
    DATA: encodeFrame(FrameType.DATA, 1, Buffer.from('x')),
    AUX: encodeFrame(FrameType.AUX, 1, Buffer.from('x')),
    EVENT: encodeJson(FrameType.EVENT, 1, { signal: 'KILL' }),
    END: encodeFrame(FrameType.END, 1),
    WINDOW: encodeFrame(FrameType.WINDOW, 1, Buffer.alloc(12)),
    RESET: encodeJson(FrameType.RESET, 1, { code: 'ABORTED', message: '' }),
    SUSPEND: encodeFrame(FrameType.SUSPEND, 1),
    RESUME: encodeJson(FrameType.RESUME, 1, { ...named, received: 0, limit: 65_536, attempt: 9 }),
    RESUMED: encodeJson(FrameType.RESUMED, 1, { received: 0, limit: 1 }),
  }
}

/** @param isJudged beside what follows it, and then ends its link, as a wrong token does */
export async function outcomeOf(raw: RawClient, frame: Uint8Array, isJudged = false): Promise<Outcome> {
  const before = raw.received.length
  raw.send(frame)
  // Frames are answered in their order: after this PING comes nothing of what was before it.
  raw.send(frames.encodeFrame(FrameType.PING, 0, Buffer.from('the last')))
  const isLast = (each: Buffer) => each[0] === FrameType.PONG && each.subarray(5).toString() === 'the last'
  if (isJudged) return raw.closed.then(() => 'closed')
  try {
    await raw.frame(isLast)
  } catch {
    return 'closed'
  }
  const isRefusal = (each: Buffer) => each[0] === FrameType.RESET
  if (frame[0] === FrameType.OPEN || frame[0] === FrameType.RESUME) await raw.frame(isRefusal)
  const since = raw.received.slice(before).filter((each) => !isLast(each) && each[0] !== FrameType.PING)
  if (since.some(isRefusal)) return 'refused'
  return since.length > 0 ? 'answered' : 'ignored'
}
