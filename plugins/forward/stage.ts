/** `asking`: not admitted yet. `admitted`: the way to the machine is being made. The rest is as `tunnel_streams` has it. */
export type PassageStage = 'asking' | 'admitted' | 'open' | 'suspended' | 'over'

/** A stream is `suspended` while its client has no link here. */
export const STREAM_STATES = ['opening', 'open', 'suspended'] as const
export type CountedState = (typeof STREAM_STATES)[number]

/** How a stream that is not over stands, as `tunnel_streams` has it. */
export function stateAt(stage: PassageStage): CountedState {
  return stage === 'open' || stage === 'suspended' ? stage : 'opening'
}
