import { ChurningSet } from './churn.ts'
import { PRIORITIES, type Priority } from './codec/heads.ts'

/** How much of what is shared each priority gets while all want it; none starves. */
const WEIGHTS: Readonly<Record<Priority, number>> = { high: 16, normal: 4, low: 1 }

class Lane<T> {
  readonly weight: number
  /** In the order in which they came; leaving from the middle costs no search. */
  readonly waiting = new ChurningSet<T>()
  /** What was taken over the weight. */
  virtualTime = 0

  constructor(weight: number) {
    this.weight = weight
  }

  /** Where it would stand if it were served one more: the lane for which that is least goes next. */
  get nextTime(): number {
    return this.virtualTime + 1 / this.weight
  }
}

/**
 * Whose turn is next, which has one meaning wherever something is shared: by weight between priorities (start-time
 * fair queueing), first in first out inside one. An item stands in the lanes once.
 */
export class PriorityLanes<T> {
  readonly #lanes: Readonly<Record<Priority, Lane<T>>> = {
    high: new Lane(WEIGHTS.high),
    normal: new Lane(WEIGHTS.normal),
    low: new Lane(WEIGHTS.low),
  }
  readonly #order: readonly Lane<T>[] = PRIORITIES.map((priority) => this.#lanes[priority])
  /** Where the lane stood that was served last. */
  #virtualTime = 0
  #served: Lane<T> | undefined

  get size(): number {
    return this.#lanes.high.waiting.size + this.#lanes.normal.waiting.size + this.#lanes.low.waiting.size
  }
  get sizes(): Record<Priority, number> {
    const { high, normal, low } = this.#lanes
    return { high: high.waiting.size, normal: normal.waiting.size, low: low.waiting.size }
  }

  /** At the end of its lane; nothing changes for one that stands there. */
  add(item: T, priority: Priority): void {
    const lane = this.#lanes[priority]
    // A lane that was idle does not get what it did not ask for in the meantime.
    if (lane.waiting.size === 0) lane.virtualTime = Math.max(lane.virtualTime, this.#virtualTime)
    lane.waiting.add(item)
  }

  /** Whether it stood there. */
  delete(item: T, priority: Priority): boolean {
    return this.#lanes[priority].waiting.delete(item)
  }

  /**
   * Takes whose turn it is, of those that are `eligible`; the others keep their places. It costs 1 of what is shared,
   * unless `charge` says more. One of high priority waits for one turn of another's at most: it has more than half of
   * the weight, so that this takes nothing from anybody's share.
   */
  next(eligible?: (item: T) => boolean): T | undefined {
    const { high } = this.#lanes
    const item = (this.#served === high ? undefined : this.#first(high, eligible)) ?? this.take(eligible)
    if (item !== undefined) this.charge(1)
    return item
  }

  /** By weight alone; what it costs is for `charge` to say, before another is taken. Without that it cost nothing. */
  take(eligible?: (item: T) => boolean): T | undefined {
    if (eligible !== undefined) return this.#takeEligible(eligible)
    let least: Lane<T> | undefined
    for (const lane of this.#order) {
      if (lane.waiting.size === 0) continue
      if (least === undefined || lane.nextTime < least.nextTime) least = lane
    }
    if (least === undefined) return undefined
    const item = least.waiting.first as T
    return this.#leave(least, item)
  }

  #takeEligible(eligible: (item: T) => boolean): T | undefined {
    const lanes = [...this.#order].sort((one, other) => one.nextTime - other.nextTime)
    for (const lane of lanes) {
      const item = this.#first(lane, eligible)
      if (item !== undefined) return item
    }
    return undefined
  }

  #first(lane: Lane<T>, eligible?: (item: T) => boolean): T | undefined {
    for (const item of lane.waiting)
      if (eligible === undefined || eligible(item)) return this.#leave(lane, item)
    return undefined
  }

  #leave(lane: Lane<T>, item: T): T {
    lane.waiting.delete(item)
    this.#served = lane
    return item
  }

  /** What the one that was taken last has used, in the unit of whatever is shared. */
  charge(cost: number): void {
    const lane = this.#served
    if (lane === undefined) return
    this.#virtualTime = lane.virtualTime
    lane.virtualTime += cost / lane.weight
  }

  /** Everybody, high first. */
  *values(): Generator<T> {
    for (const lane of this.#order) yield* lane.waiting
  }

  clear(): void {
    for (const lane of this.#order) lane.waiting.clear()
  }
}
