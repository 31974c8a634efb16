import type { Link } from '../../protocol/link/link.ts'

/** One start of an agent's program. */
export interface Program {
  /** Random, of this start. */
  readonly instance: string
  /** Counts the starts on its machine; 0 where it does not say. */
  readonly epoch: number
}

/** An agent's link at another replica. */
export interface Home {
  readonly program: Program
  readonly replica: HomeReplica
}

/** The replica that has it; what it says of itself changes. */
export interface HomeReplica {
  readonly id: string
  readonly link: Link
  /** Streams that it carries. */
  readonly load: number
  /** It leaves: only what has no other way goes there. */
  readonly draining: boolean
  /** `link` is to a third replica, of this id, which has a link to this one. */
  readonly via: string | undefined
}

/** Of two programs with one name the later has it; on every replica the same one, whoever was heard of first. */
export function isLater(one: Program, other: Program): boolean {
  if (one.epoch !== other.epoch) return one.epoch > other.epoch
  return one.instance > other.instance
}

export function programOf({ peer }: Link): Program {
  return { instance: peer?.instance ?? '', epoch: peer?.epoch ?? 0 }
}

const NONE: readonly Home[] = []

/** The other replicas at which one agent has links. A replica alone has none, and nothing is kept for it. */
export class Homes {
  #homes: readonly Home[] = NONE

  get isEmpty(): boolean {
    return this.#homes === NONE
  }

  /** Takes the place of what this replica said before, and of former programs. False: a later one is known. */
  add(home: Home): boolean {
    const others = this.#homes.filter(({ replica }) => replica !== home.replica)
    const { program } = home
    if (others.some((each) => each.program.instance !== program.instance && isLater(each.program, program)))
      return false
    this.#homes = [...others.filter((each) => each.program.instance === program.instance), home]
    return true
  }

  delete(replica: HomeReplica): boolean {
    const left = this.#homes.filter((each) => each.replica !== replica)
    if (left.length === this.#homes.length) return false
    this.#homes = left.length === 0 ? NONE : left
    return true
  }

  /** Those of programs that are over. */
  keepOnly({ instance }: Program): void {
    const left = this.#homes.filter(({ program }) => program.instance === instance)
    this.#homes = left.length === 0 ? NONE : left
  }

  /** The least loaded of the nearest that do not leave. */
  get best(): HomeReplica | undefined {
    return this.#best()
  }

  /** The link to that one. */
  get link(): Link | undefined {
    return this.best?.link
  }

  /** The same of those to which this replica has a link of its own that is not `except`. */
  nearLink(except: Link): Link | undefined {
    return this.#best(({ via, link }) => via === undefined && link !== except)?.link
  }

  #best(mayBe: (replica: HomeReplica) => boolean = () => true): HomeReplica | undefined {
    let best: HomeReplica | undefined
    for (const { replica } of this.#homes)
      if (mayBe(replica) && (best === undefined || isBetter(replica, best))) best = replica
    return best
  }

  /** Undefined where there are none. */
  get program(): Program | undefined {
    return this.#homes[0]?.program
  }

  /** The other replicas, by their ids. */
  get ids(): string[] {
    // For a moment one may be known in two ways.
    return [...new Set(this.#homes.map(({ replica }) => replica.id))]
  }

  has(link: Link): boolean {
    return this.#homes.some(({ replica }) => replica.link === link)
  }
}

function isBetter(one: HomeReplica, other: HomeReplica): boolean {
  if (one.draining !== other.draining) return other.draining
  if ((one.via === undefined) !== (other.via === undefined)) return one.via === undefined
  return one.load < other.load
}
