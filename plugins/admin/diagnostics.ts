import type { FastifyInstance } from 'fastify'
import type { Static } from 'typebox'
import { Value } from 'typebox/value'
import { packageVersion } from '../../dial/software.ts'
import type { Everywhere } from './everywhere.ts'
import * as schemas from './schemas.ts'

const QUESTION = 'diagnostics'
/** What each replica has of its own, beside links and streams. */
const LISTS = {
  connections: schemas.Connection,
  waits: schemas.Wait,
  circuits: schemas.Circuit,
  errors: schemas.RecentError,
  users: schemas.Usage,
} as const
type ListName = keyof typeof LISTS
type Lists = { [Name in ListName]: Static<(typeof LISTS)[Name]>[] }
type PoolStates = Record<'connecting' | 'idle' | 'busy', number>

interface Own {
  readonly pool: PoolStates
  readonly waiting: number
  readonly lists: Record<ListName, readonly object[]>
}

/** What a user has at this proxy, or everybody: of several replicas, at all of them. */
export class Diagnostics {
  readonly #app: FastifyInstance
  readonly #everywhere: Everywhere
  readonly #startedMs = performance.now()

  constructor(app: FastifyInstance, everywhere: Everywhere) {
    this.#app = app
    this.#everywhere = everywhere
    const { cluster } = app
    cluster?.onQuestion(QUESTION, ({ whose }) => itemsOf(this.#own(whose === null ? undefined : `${whose}`)))
  }

  async of(whose: string | undefined) {
    const { cluster } = this.#app
    const [links, sessions, others] = await Promise.all([
      this.#everywhere.links(whose),
      this.#everywhere.sessions(whose),
      cluster?.ask(QUESTION, { whose: whose ?? null }),
    ])
    const { pool, waiting, lists } = merged(this.#own(whose), cluster?.id, others?.items ?? [])
    const found = [links, sessions, others]
    const missing = [...new Set(found.flatMap((each) => each?.missing ?? []))]
    const cut = [...new Set(found.flatMap((each) => each?.cut ?? []))]
    const answer = {
      version: packageVersion(),
      uptimeSeconds: Math.floor((performance.now() - this.#startedMs) / 1_000),
      ...{ links: links.all, sessions: sessions.all, pool, waiting, ...lists },
      ...(cluster !== undefined && { replica: cluster.id, missing, cut }),
      ...(whose === undefined && cluster !== undefined && { replicas: cluster.list() }),
    }
    return { answer, missing, cut, replicas: sessions.replicas }
  }

  #own(whose: string | undefined): Own {
    const { forward, pool, breaker } = this.#app
    const users = forward.overview.usage(whose)
    return {
      pool: pool.states(whose),
      waiting: users.reduce((sum, { user }) => sum + pool.waiting(user), 0),
      lists: {
        connections: pool.connections(whose),
        waits: pool.waits(whose),
        circuits: breaker.states().filter(({ user }) => whose === undefined || user === whose),
        errors: forward.overview.recentErrors(whose),
        users,
      },
    }
  }
}

/** One by one, as another replica is told of them. */
function itemsOf({ pool, waiting, lists }: Own): object[] {
  const entries = Object.entries(lists).flatMap(([list, all]) => all.map((value) => ({ list, value })))
  return [{ list: 'pool', value: { ...pool, waiting } }, ...entries]
}

/** What this replica has, and what others have told; what another version tells in another form is left out. */
function merged(
  own: Own,
  replica: string | undefined,
  others: readonly { readonly replica: string; readonly item: unknown }[],
): { pool: PoolStates; waiting: number; lists: Lists } {
  const pool = { ...own.pool }
  let { waiting } = own
  const place = (all: readonly object[]) =>
    all.map((value) => ({ ...value, ...(replica !== undefined && { replica }) }))
  const lists = Object.fromEntries(
    Object.entries(own.lists).map(([name, all]) => [name, place(all)]),
  ) as Lists
  for (const { replica: from, item } of others) {
    const { list, value } = item as { list?: unknown; value?: unknown }
    if (list === 'pool' && Value.Check(schemas.PoolAndWaiting, value)) {
      for (const state of ['connecting', 'idle', 'busy'] as const) pool[state] += value[state]
      waiting += value.waiting
    } else if (isListName(list) && Value.Check(LISTS[list], value))
      (lists[list] as object[]).push({ ...value, replica: from })
  }
  // The newest first, whoever has it.
  lists.errors.sort((one, other) => (one.at < other.at ? 1 : -1))
  return { pool, waiting, lists }
}

function isListName(list: unknown): list is ListName {
  return typeof list === 'string' && Object.hasOwn(LISTS, list)
}
