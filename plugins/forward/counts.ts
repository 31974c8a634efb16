import { STREAM_KINDS, type StreamKind } from '../../protocol/codec/heads.ts'
import type { Session } from './sessions.ts'
import { type CountedState, STREAM_STATES, stateAt } from './stage.ts'

/** How many streams there are, by kind and state; those of which there are none as well. */
export function* countStreams(sessions: Iterable<Session>): Generator<[StreamKind, CountedState, number]> {
  const none = () => ({ opening: 0, open: 0, suspended: 0 })
  const counts = new Map(STREAM_KINDS.map((kind) => [kind as StreamKind, none()]))
  for (const { passages } of sessions) {
    for (const { context, stage } of passages.values()) {
      if (stage === 'over') continue
      const { kind } = context.head
      const ofKind = counts.get(kind) ?? none()
      counts.set(kind, ofKind)
      ofKind[stateAt(stage)]++
    }
  }
  for (const [kind, states] of counts) {
    for (const state of STREAM_STATES) yield [kind, state, states[state]]
  }
}
