import type { RoutedHead } from '../../protocol/codec/heads.ts'
import type { User } from '../auth/index.ts'
import type { Route } from '../machines/index.ts'
import type { LinkContext, OpenContext } from './hooks.ts'

/** Between whom a stream is. */
export interface StreamParties {
  readonly id: string
  /** Whose token it stands on now. */
  readonly user: User
  readonly machine: string
  /** The machine's owner, once it is known. */
  readonly owner: string | undefined
}

/** Who asks for a stream, by whichever link, and what for. */
export class Parties implements StreamParties {
  readonly context: OpenContext
  /** The link of whoever asked last, whose user AUTH renews. */
  #opener: LinkContext | undefined

  constructor(context: OpenContext) {
    this.context = context
  }

  get id(): string {
    return this.context.head.id
  }
  get user(): User {
    return this.#opener?.user ?? this.context.user
  }
  get machine(): string {
    return this.context.machine
  }
  get owner(): string | undefined {
    return this.context.owner
  }

  /** Whoever has this link asks for the stream, and is who it is judged by. */
  askedBy(opener: LinkContext): void {
    this.#opener = opener
    this.context.user = opener.user
  }

  /** Whether `head` asks for this stream: what was authorised under its id counts for nothing else. */
  isFor(head: RoutedHead): boolean {
    const { kind, machine, target } = this.context.head
    return head.kind === kind && head.machine === machine && head.target === target
  }

  /** From now on the machine goes by its own name, whatever its user calls it. */
  protected leadsTo({ owner, name }: Pick<Route, 'owner' | 'name'>): void {
    this.context.owner = owner
    this.context.machine = name
  }
}
