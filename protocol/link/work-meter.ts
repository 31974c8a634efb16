import type { Clock } from '../clock.ts'
import { FrameType, HEADER_BYTES, streamNumber, TYPE_MASK } from '../codec/frames.ts'
import { TokenBucket } from '../token-bucket.ts'

/** What a link asks before it goes on reading; one object for all links of a user. */
export interface Work {
  /** Charges work, in µs of one core, roughly. Returns how long the link must not be read for, in ms; 0: go on. */
  charge(cost: number): number
  /** Takes back what was charged for what turned out to be in order. */
  credit(cost: number): void
  /** Counts something that no honest peer sends. False: there were too many, and the link is to end (RATE_LIMITED). */
  fault(): boolean
}

/** Work that a user may cause for long, in µs a second: a quarter of a core. */
const LASTING = 250_000
/** Beyond that, at once: all links of a user come back with all their streams. */
const BURST = 1_000_000
/** In every SLICE_MS no more than that, in µs, where there are others: they have their turns in between. */
const SLICE_MS = 3
const SLICE = 1_200
/** Faults a second, beyond a burst. */
const FAULTS_PER_SECOND = 20
const FAULTS = 500

/** Work by one user, measured by what frames of each type are known to cost. */
export class WorkMeter implements Work {
  readonly #clock: Clock
  readonly #isShared: () => boolean
  readonly #faults: TokenBucket
  readonly #burst: number
  #left: number
  #filledAtMs: number
  #sliceFromMs: number
  #sliceUsed = 0

  /**
   * @param isShared whether there is anybody else for whom there have to be turns; to stop and go on costs a tenth of the throughput
   * @param burst what may be done at once beyond what is for long, in µs
   */
  constructor(clock: Clock, isShared: () => boolean = () => true, burst = BURST) {
    this.#clock = clock
    this.#isShared = isShared
    this.#burst = burst
    this.#left = burst
    this.#faults = new TokenBucket(clock, FAULTS_PER_SECOND, FAULTS)
    this.#filledAtMs = clock.now()
    this.#sliceFromMs = this.#filledAtMs
  }

  charge(cost: number): number {
    const now = this.#clock.now()
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#filledAtMs) / 1_000) * LASTING) - cost
    this.#filledAtMs = now
    if (now - this.#sliceFromMs >= SLICE_MS) {
      this.#sliceFromMs = now
      this.#sliceUsed = 0
    }
    this.#sliceUsed += cost
    if (this.#left < 0) return Math.max(SLICE_MS, (-this.#left / LASTING) * 1_000)
    return this.#sliceUsed > SLICE && this.#isShared() ? SLICE_MS : 0
  }

  credit(cost: number): void {
    this.#left = Math.min(this.#burst, this.#left + cost)
    this.#sliceUsed = Math.max(0, this.#sliceUsed - cost)
  }

  fault(): boolean {
    return this.#faults.take()
  }
}

/** What a refusal costs whoever makes it, in µs: an error and a frame. */
export const REFUSAL_COST = 50
/**
 * What it costs to decide on a stream that is refused in the end, in µs: its passage, look-ups, a line of the log and of
 * the audit trail. It is charged when the stream is asked for, since many can be asked for before the first is refused,
 * and taken back when the stream is admitted: what is in order is held up by nothing.
 */
export const ADMISSION_COST = 150
/** Bytes of JSON that are read in a µs, at worst. */
const JSON_BYTES_PER_UNIT = 32

/**
 * By type, in µs. A PING makes its sender get an answer, and an honest one is rare. Windows bound the bytes of DATA, which
 * are cheap in large frames; in small ones each frame is what costs.
 */
const COSTS = new Uint8Array(TYPE_MASK + 1)
COSTS[FrameType.PING] = 20
COSTS[FrameType.PONG] = 5
COSTS[FrameType.AUTH] = 200
COSTS[FrameType.GOAWAY] = 20
COSTS[FrameType.MESH] = 200
COSTS[FrameType.OPEN] = 10
COSTS[FrameType.EVENT] = 5
COSTS[FrameType.RESET] = 5
COSTS[FrameType.RESUME] = 50
COSTS[FrameType.RESUMED] = 5
COSTS[FrameType.WINDOW] = 4
/** DATA or AUX of fewer bytes, its header included, costs SMALL_DATA_COST; a larger one nothing. */
const SMALL_DATA_BYTES = 512
const SMALL_DATA_COST = 4

/** What it costs to look at a frame that has come, in µs; 0 for much data at once. */
export function costOfFrame(frame: Uint8Array): number {
  const type = frame[0]! & TYPE_MASK
  if (type === FrameType.DATA || type === FrameType.AUX)
    return frame.length < SMALL_DATA_BYTES ? SMALL_DATA_COST : 0
  const cost = COSTS[type]!
  if (cost < 5) return cost
  return cost + jsonBytes(type, frame) / JSON_BYTES_PER_UNIT
}

/** The first bytes on an OPEN are not read. */
function jsonBytes(type: number, frame: Uint8Array): number {
  const bytes = frame.length - HEADER_BYTES
  if (type !== FrameType.OPEN || bytes < 4) return bytes
  // A head has its length where other frames have their stream's number.
  return Math.min(bytes, streamNumber(frame.subarray(4)))
}
