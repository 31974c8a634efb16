import { TunnelError } from '../codec/errors.ts'
import { FrameType } from '../codec/frames.ts'

const COMMON: readonly number[] = [
  FrameType.DATA,
  FrameType.AUX,
  FrameType.EVENT,
  FrameType.END,
  FrameType.WINDOW,
  FrameType.RESET,
  // From the opener's side only another relay says it: the link before that one is gone.
  FrameType.SUSPEND,
]
/** Frames that may cross a relay, apart from OPEN and RESUME, which start it. */
const FROM_OPENER: ReadonlySet<number> = new Set(COMMON)
const FROM_ACCEPTOR: ReadonlySet<number> = new Set([...COMMON, FrameType.ACCEPT, FrameType.RESUMED])

/** @throws {TunnelError} FRAME_INVALID for a frame that does not cross a relay from this side */
export function checkCrosses(type: number, fromOpener: boolean): void {
  if ((fromOpener ? FROM_OPENER : FROM_ACCEPTOR).has(type)) return
  throw new TunnelError('FRAME_INVALID', `a frame of type ${type} does not go this way`, { hop: 'link' })
}
