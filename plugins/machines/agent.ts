import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { Budget } from '../../protocol/stream/budget.ts'
import type { StreamOpener } from '../../protocol/stream/opener.ts'
import type { AgentNames } from './agent-names.ts'
import type { Homes, Program } from './homes.ts'
import type { Trial, Trials } from './trials.ts'

export interface AgentLink {
  link: Link
  /** What its owner's tier gives: machines in all, and what the streams that the proxy opens to this one may hold. */
  limits: { machines: number; budgetBytes: number }
  /** Whether the token that it was made with, or a fresh one, is still good. */
  isFresh(): boolean
}

/** An agent with a link here, as other replicas are told of it. */
export interface Presence {
  owner: string
  name: string
  program: Program
}

/** Where an agent has links, as this replica knows. */
export interface AgentHomes extends Presence {
  isHere: boolean
  /** The other replicas at which it has one, by their ids. */
  elsewhere: string[]
  /** The one of them by which it is reached; undefined where it has a link here. */
  route: string | undefined
  /** The third replica by which that one is reached, where there is no link to it. */
  via: string | undefined
}

/** Told when an agent has its first link here, or another program's, and when it has none any more. */
export interface PresenceListener {
  present(presence: Presence): void
  gone(owner: string, name: string): void
}

export interface KnownAgent {
  /** Its newest link here. */
  link: Link | undefined
  /** It has a link, and a token with which streams may be opened over it. */
  online: boolean
  /** Since when it is as it is. */
  since: Date
  /** Streams that stand on its links, and those that wait for it to come back. */
  streams: { open: number; waiting: number }
  /** The last time that its SSH server was tried over its link. */
  trial: Trial | undefined
}

/** Whoever waits for an agent. */
export interface Waiter {
  go(link: Link): void
  gone(error: TunnelError): void
}

/** An agent that is on line, or was within the resume window. */
export interface Agent {
  owner: string
  name: string
  /** The streams that the proxy itself has opened to it: they wait for its next link. */
  opener: StreamOpener
  /** What they hold. */
  budget: Budget
  /** The newest is used; older ones of the same program are closing, or are dead and not yet noticed. */
  links: Link[]
  /** Where else it has one: what cannot go over a link of its own goes over the link to such a replica. */
  homes: Homes
  /** Of the newest link. */
  isFresh: () => boolean
  since: Date
  /** The same by the clock that never runs backwards. */
  sinceMs: number
  /** Until then all that is known of it is that somebody waits for it. */
  wasOnline: boolean
  forgetTimer: unknown
  waiting: Set<Waiter>
  /** What it says of names. */
  names: AgentNames
  /** While it has a link. */
  trials: Trials
}
