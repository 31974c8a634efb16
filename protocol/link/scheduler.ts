import type { Priority } from '../codec/heads.ts'

/** Something that may have frames to send on a link. */
export interface FrameSource {
  readonly priority: Priority
  /** Whether its payload may shrink: never so for a sealed stream, whose bytes are ciphertext. */
  readonly compressible: boolean
  /** The next frame, with at most `maxDataBytes` of payload, or undefined when there is nothing to send now. */
  nextFrame(maxDataBytes: number): Uint8Array | undefined
}

/** How much of a busy link each priority gets; none starves. */
const WEIGHTS: Readonly<Record<Priority, number>> = { high: 16, normal: 4, low: 1 }

class Lane {
  readonly weight: number
  readonly waiting: FrameSource[] = []
  /** Bytes sent over weight: the lane that has had least goes next (start-time fair queueing). */
  virtualTime = 0

  constructor(weight: number) {
    this.weight = weight
  }
}

/** Whose frame goes next: weighted between priorities, round robin inside one. */
export class Scheduler {
  readonly #lanes: Readonly<Record<Priority, Lane>> = {
    high: new Lane(WEIGHTS.high),
    normal: new Lane(WEIGHTS.normal),
    low: new Lane(WEIGHTS.low),
  }
  readonly #order: readonly Lane[] = [this.#lanes.high, this.#lanes.normal, this.#lanes.low]
  readonly #queued = new Set<FrameSource>()
  #virtualTime = 0

  /** Says that `source` may have something to send; as often as one likes. */
  add(source: FrameSource): void {
    if (this.#queued.has(source)) return
    this.#queued.add(source)
    const lane = this.#lanes[source.priority]
    // A lane that was idle does not get what it did not ask for in the meantime.
    if (lane.waiting.length === 0) lane.virtualTime = Math.max(lane.virtualTime, this.#virtualTime)
    lane.waiting.push(source)
  }

  remove(source: FrameSource): void {
    if (!this.#queued.delete(source)) return
    const { waiting } = this.#lanes[source.priority]
    const index = waiting.indexOf(source)
    // A source that leaves while it is asked for its frame stands in no lane.
    if (index >= 0) waiting.splice(index, 1)
  }

  /** Whether the frame that `next` gave last is worth compressing. */
  compressible = false

  next(maxDataBytes: number): Uint8Array | undefined {
    for (let lane = this.#leastServed(); lane !== undefined; lane = this.#leastServed()) {
      const source = lane.waiting.shift()!
      const frame = source.nextFrame(maxDataBytes)
      if (frame === undefined) {
        this.#queued.delete(source)
        continue
      }
      if (this.#queued.has(source)) lane.waiting.push(source)
      this.compressible = source.compressible
      this.#virtualTime = lane.virtualTime
      lane.virtualTime += frame.length / lane.weight
      return frame
    }
    return undefined
  }

  #leastServed(): Lane | undefined {
    let least: Lane | undefined
    for (const lane of this.#order) {
      if (lane.waiting.length === 0) continue
      if (least === undefined || lane.virtualTime < least.virtualTime) least = lane
    }
    return least
  }
}
