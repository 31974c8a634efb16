import type { Priority } from '../codec/heads.ts'
import { PriorityLanes } from '../priority-lanes.ts'

/** Something that may have frames to send on a link. */
export interface FrameSource {
  readonly priority: Priority
  /** Whether its payload may shrink: never so for a sealed stream, whose bytes are ciphertext. */
  readonly compressible: boolean
  /** The next frame, with at most `maxDataBytes` of payload, or undefined when there is nothing to send now. */
  nextFrame(maxDataBytes: number): Uint8Array | undefined
}

/** Whose frame goes next: weighted by bytes between priorities, round robin inside one. */
export class Scheduler {
  readonly #lanes = new PriorityLanes<FrameSource>()
  /** The one that is being asked for its frame, unless it has left. */
  #asked: FrameSource | undefined

  /** Says that `source` may have something to send; as often as one likes. */
  add(source: FrameSource): void {
    this.#lanes.add(source, source.priority)
  }

  remove(source: FrameSource): void {
    if (this.#asked === source) this.#asked = undefined
    this.#lanes.delete(source, source.priority)
  }

  /** Whether the frame that `next` gave last is worth compressing. */
  compressible = false

  next(maxDataBytes: number): Uint8Array | undefined {
    for (let source = this.#lanes.take(); source !== undefined; source = this.#lanes.take()) {
      this.#asked = source
      const frame = source.nextFrame(maxDataBytes)
      if (frame === undefined) continue
      this.#lanes.charge(frame.length)
      if (this.#asked === source) this.#lanes.add(source, source.priority)
      this.compressible = source.compressible
      return frame
    }
    return undefined
  }
}
