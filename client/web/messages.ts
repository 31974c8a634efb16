import type { WireError } from '../../protocol/codec/errors.ts'
import type { HeaderList, HttpResponseHead } from '../../protocol/codec/heads.ts'
import type { StoredRequest } from '../queue/record.ts'

/** By this name, because the types of Node have none. */
export type Channel = InstanceType<typeof BroadcastChannel>

/** What a tab asks of the one that has the queue. */
export type ToOwner =
  | {
      readonly kind: 'call'
      /** Of this call; the same when a new owner is asked again. */
      readonly id: string
      /** The tab's own channel, for the answer. */
      readonly from: string
      readonly request: StoredRequest
      /** Those that are never on disk included. */
      readonly headers: HeaderList
      /** An earlier owner had accepted it. */
      readonly isAccepted: boolean
    }
  | { readonly kind: 'cancel'; readonly id: string }

/** What the tab is told. */
export type ToTab =
  | { readonly kind: 'accepted'; readonly id: string }
  | {
      readonly kind: 'answer'
      readonly id: string
      readonly head: HttpResponseHead
      readonly body: Uint8Array
    }
  | { readonly kind: 'failed'; readonly id: string; readonly error: WireError }

/** The channels of one queue. `all` says that there is an owner, and has no other message. */
export function channelsOf(queue: string): { all: string; owner: string; tab: (id: string) => string } {
  const base = `ssh-websocket-tunnel ${queue}`
  return { all: `${base} all`, owner: `${base} owner`, tab: (id) => `${base} tab ${id}` }
}
