import type { Priority, StreamKind } from '../../protocol/codec/heads.ts'
import type { Passage } from './passage.ts'
import type { Session } from './sessions.ts'
import { type CountedState, stateAt } from './stage.ts'

/** A stream that is here, as its user and an administrator see it. */
export interface StreamReport {
  id: string
  user: string
  machine: string
  /** The machine's; absent until it has been admitted. */
  owner?: string
  kind: StreamKind
  mode: 'sealed' | 'inspected'
  target?: string
  priority: Priority
  state: CountedState
  since: string
  /** Towards the machine. */
  bytesIn: number
  bytesOut: number
  /** Who look on at it now. */
  watchers: number
  /** The replicas that hand it over, as the client's link is elsewhere; absent otherwise. */
  via?: string
  connectionId: string
  correlationId: string
}

export function reportOf(passage: Passage): StreamReport {
  const { id, user, machine, owner, stage, ageMs, bytes, watchers } = passage
  const { head, mode, target, connectionId, correlationId, via } = passage.context
  return {
    ...{ id, user: user.sub, machine, kind: head.kind, mode, priority: head.priority ?? 'normal' },
    ...{ state: stateAt(stage), since: new Date(Date.now() - ageMs).toISOString() },
    ...{ bytesIn: bytes.in, bytesOut: bytes.out, watchers: watchers.count, connectionId, correlationId },
    ...(owner !== undefined && { owner }),
    ...(target !== undefined && { target }),
    ...(via !== undefined && { via }),
  }
}

/** Why a stream ended that did not end in order. */
export interface RecentError {
  at: string
  user: string
  machine: string
  kind: StreamKind
  code: string
  message: string
  correlationId: string
}

/** How many are kept, of all users together. */
const MAX_ERRORS = 200

/** The newest errors, so that whoever asks what is wrong need not search a log. */
export class RecentErrors {
  readonly #errors: RecentError[] = []

  add(error: RecentError): void {
    this.#errors.push(error)
    if (this.#errors.length > MAX_ERRORS) this.#errors.shift()
  }

  /** The newest first. */
  list(userId?: string): RecentError[] {
    return this.#errors.filter(({ user }) => userId === undefined || user === userId).reverse()
  }
}

/** What one user has here. */
export interface Usage {
  user: string
  links: number
  streams: number
  /** What their streams hold in this process. */
  bufferBytes: number
}

export function usageOf({ userId, links, passages, budget, memory }: Session): Usage {
  const bufferBytes = budget.usedBytes + memory.usedBytes
  return { user: userId, links: links.size, streams: passages.size, bufferBytes }
}
