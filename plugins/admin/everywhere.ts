import type { FastifyInstance } from 'fastify'
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import type { StreamReport } from '../forward/index.ts'
import type { LinkReport } from '../links/index.ts'
import { endedByRequest, linkEndedByRequest } from './errors.ts'
import * as schemas from './schemas.ts'

/** Where one of several replicas has it. */
export type Placed<T> = T & { replica?: string }

/** What there is, the replicas that were asked and have not answered, and those that have more than they could tell. */
export interface Found<T> {
  readonly all: Placed<T>[]
  readonly missing: readonly string[]
  /** The replicas that have more than one answer may hold: the rest is left out. */
  readonly cut: readonly string[]
  /** How many replicas there are, the one that was asked included. */
  readonly replicas: number
}

/** Whom a question is about, and who asks. */
interface About {
  /** Whose things are meant; undefined: everybody's. */
  readonly whose: string | undefined
  readonly by: string
  readonly id: string
}

const SESSIONS = 'sessions'
const LINKS = 'links'
const END_SESSION = 'end session'
const END_LINK = 'end link'

/**
 * Streams and links, here and at the other replicas: whoever asks a load balancer, or one of several workers, does not know
 * which of them has what is meant. A replica does what another asks in a user's name, as it does with streams.
 */
export class Everywhere {
  readonly #app: FastifyInstance

  constructor(app: FastifyInstance) {
    this.#app = app
    const { cluster } = app
    cluster?.onQuestion(SESSIONS, (about) => this.#ownSessions(aboutOf(about).whose))
    cluster?.onQuestion(LINKS, (about) => app.links.list(aboutOf(about).whose))
    cluster?.onQuestion(END_SESSION, (about) => listed(this.#endSessionHere(aboutOf(about), false)))
    cluster?.onQuestion(END_LINK, (about) => listed(this.#endLinkHere(aboutOf(about))))
  }

  async sessions(whose: string | undefined): Promise<Found<StreamReport>> {
    const { all, ...asked } = await this.#ask<StreamReport>(SESSIONS, { whose }, schemas.Session)
    const keys = new Set(all.map(keyOf))
    // One that was handed over here is listed by the replica where its client is.
    const own = this.#app.forward.overview.list(whose).filter((each) => !keys.has(keyOf(each)))
    return { all: [...this.#placed(own), ...all], ...asked }
  }

  async links(whose: string | undefined): Promise<Found<LinkReport>> {
    const { all, ...asked } = await this.#ask<LinkReport>(LINKS, { whose }, schemas.Link)
    return { all: [...this.#placed(this.#app.links.list(whose)), ...all], ...asked }
  }

  /** Ends a stream; undefined where no replica that answers has it. */
  async endSession(about: About): Promise<Placed<StreamReport> | undefined> {
    const here = this.#endSessionHere(about, false)
    if (here !== undefined) return this.#placed([here])[0]
    const [elsewhere] = (await this.#ask<StreamReport>(END_SESSION, about, schemas.Session)).all
    if (elsewhere !== undefined) return elsewhere
    // Its client's replica does not answer.
    return this.#placed(listed(this.#endSessionHere(about, true)))[0]
  }

  /** The same of a link. */
  async endLink(about: About): Promise<Placed<LinkReport> | undefined> {
    const here = this.#endLinkHere(about)
    if (here !== undefined) return this.#placed([here])[0]
    return (await this.#ask<LinkReport>(END_LINK, about, schemas.Link)).all[0]
  }

  #ownSessions(whose: string | undefined): StreamReport[] {
    return this.#app.forward.overview.list(whose).filter(({ via }) => via === undefined)
  }

  /** @param isHandedOver one that another replica hands over is meant too; it is counted there */
  #endSessionHere({ whose, id, by }: About, isHandedOver: boolean): StreamReport | undefined {
    const { forward } = this.#app
    const all = isHandedOver ? forward.overview.list(whose) : this.#ownSessions(whose)
    const session = all.find((each) => each.id === id)
    if (session === undefined) return undefined
    // Ids are of their openers' making: another user's stream may have the same.
    const isMeant = (stream: { id: string; user: { sub: string } }): boolean =>
      stream.id === id && stream.user.sub === session.user
    forward.end(isMeant, endedByRequest(session.user === by))
    return session
  }

  #endLinkHere({ whose, id, by }: About): LinkReport | undefined {
    const link = this.#app.links.list(whose).find(({ connectionId }) => connectionId === id)
    return link && this.#app.links.end(id, whose, linkEndedByRequest(link.user === by))
  }

  #placed<T extends object>(own: readonly T[]): Placed<T>[] {
    const { cluster } = this.#app
    return cluster === undefined ? [...own] : own.map((each) => ({ ...each, replica: cluster.id }))
  }

  /** @param schema what another version answers may be something else */
  async #ask<T>(what: string, about: Partial<About>, schema: TSchema): Promise<Found<T>> {
    const { cluster } = this.#app
    if (cluster === undefined) return { all: [], missing: [], cut: [], replicas: 1 }
    const { whose = null, by = '', id = '' } = about
    const { items, ...asked } = await cluster.ask(what, { whose, by, id })
    const known = items.filter(({ item }) => Value.Check(schema, item))
    return { all: known.map(({ replica, item }) => ({ ...(item as T), replica })), ...asked }
  }
}

function aboutOf({ whose, by, id }: Record<string, unknown>): About {
  // Everybody's only where that was said.
  return { whose: whose === null ? undefined : String(whose), by: String(by), id: String(id) }
}

function listed<T>(found: T | undefined): T[] {
  return found === undefined ? [] : [found]
}

function keyOf({ user, id }: StreamReport): string {
  // No user has a space in it.
  return `${user} ${id}`
}
