import type { Hello } from '../../protocol/codec/hello.ts'
import type { Transport } from '../../protocol/link/transport.ts'

export const PARTIES = ['proxy', 'agent', 'client'] as const
export type Party = (typeof PARTIES)[number]

/** A party that is attacked, with a bystander in the same process whom nothing may touch. */
export interface Target {
  /** The attacker's end of a new link, and what it says of itself there. */
  dial(): Promise<{ transport: Transport; dialler: boolean; hello: Hello }>
  /** Lets the party and the bystander do their work for a while; in memory that is virtual time. */
  pass(ms: number): Promise<void>
  /** What the party does of itself between the attacker's frames. */
  act(): void
  /** The ids of the bystander's streams: the attacker knows them. */
  readonly bystanderIds: string[]
  /** Ends what the party has of its own will, before `leftovers`. */
  settle(): Promise<void>
  /** What has to be what it was at the beginning. */
  leftovers(): Promise<Record<string, number>>
  /** What must never be. */
  readonly violations: string[]
  /** Bytes of the bystander that came out as they went in. */
  readonly bystanderBytes: number
}
