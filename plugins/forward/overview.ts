import type { StreamKind } from '../../protocol/codec/heads.ts'
import { countStreams } from './counts.ts'
import { sealedUnread, tooManyWatchers } from './errors.ts'
import { type RecentError, reportOf, type StreamReport, type Usage, usageOf } from './reports.ts'
import type { Relays } from './sealed/relays.ts'
import type { Session, Sessions } from './sessions.ts'
import type { PassageShared } from './shared.ts'
import type { CountedState } from './stage.ts'
import type { StreamWatcher } from './watched-stream.ts'

/** Who may look on at one stream at once. */
const MAX_WATCHERS = 4

/** What there is now, of all users or of one: for metrics, and for whoever administers the proxy. */
export class Overview {
  readonly #sessions: Sessions
  readonly #relays: Relays
  readonly #shared: PassageShared

  constructor(sessions: Sessions, relays: Relays, shared: PassageShared) {
    this.#sessions = sessions
    this.#relays = relays
    this.#shared = shared
  }

  /**
   * What all users together have here, memory in bytes, and the share of the budget of the user who has taken most; nothing
   * of it outlives the resume window.
   */
  held(): { sessions: number; passages: number; relayed: number; bytes: number; fullest: number } {
    const held = { sessions: 0, passages: 0, relayed: this.#relays.size, bytes: 0, fullest: 0 }
    for (const { passages, memory, budget } of this.#sessions.all()) {
      held.sessions++
      held.passages += passages.size
      held.bytes += memory.usedBytes + budget.usedBytes
      held.fullest = Math.max(held.fullest, memory.usedShare, budget.usedBytes / budget.totalBytes)
    }
    return held
  }

  /** How many streams there are, by kind and state; those of which there are none as well. */
  counts(): Generator<[StreamKind, CountedState, number]> {
    return countStreams(this.#sessions.all())
  }

  /** Brings `tunnel_bytes_total` up to date: what a session carries is counted long before its end. */
  countBytes(): void {
    const { bytes } = this.#shared.services.tunnelMetrics
    for (const mode of ['sealed', 'inspected'] as const) {
      const carried = this.#shared.bytes[mode]
      bytes.inc({ direction: 'in', mode }, carried.in)
      bytes.inc({ direction: 'out', mode }, carried.out)
      carried.in = 0
      carried.out = 0
    }
  }

  /** The streams of one user, or of all. */
  list(userId?: string): StreamReport[] {
    return this.#sessionsOf(userId).flatMap(({ passages }) =>
      [...passages.values()].filter(({ isOver }) => !isOver).map(reportOf),
    )
  }

  /**
   * Shows a stream's payload to `watcher` until what is returned is called, or the stream is over; undefined where there is
   * no such stream of the user's (or of anybody's).
   * @throws {TunnelError} REQUEST_INVALID for a sealed one, which this proxy cannot read, TOO_MANY_CONNECTIONS
   */
  watch(id: string, userId: string | undefined, watcher: StreamWatcher): (() => void) | undefined {
    for (const { passages } of this.#sessionsOf(userId)) {
      const passage = [...passages.values()].find((each) => each.id === id)
      if (passage === undefined || passage.isOver) continue
      if (passage.context.mode === 'sealed') throw sealedUnread()
      if (passage.watchers.count >= MAX_WATCHERS) throw tooManyWatchers()
      return passage.watchers.add(watcher)
    }
    return undefined
  }

  /** What each user has here, or one of them. */
  usage(userId?: string): Usage[] {
    return this.#sessionsOf(userId).map(usageOf)
  }

  /** The errors that streams ended with of late, the newest first. */
  recentErrors(userId?: string): RecentError[] {
    return this.#shared.recentErrors.list(userId)
  }

  #sessionsOf(userId: string | undefined): Session[] {
    if (userId === undefined) return [...this.#sessions.all()]
    const session = this.#sessions.of(userId)
    return session === undefined ? [] : [session]
  }
}
