import { errorFromWire, TunnelError } from '../../protocol/codec/errors.ts'
import { ForwardResponse } from '../forward-response.ts'
import { stillQueued } from '../outcome.ts'
import type { StoredRequest } from '../queue/record.ts'
import type { HttpRequest } from '../request.ts'
import { type Channel, channelsOf, type ToOwner, type ToTab } from './messages.ts'

interface Call {
  readonly request: StoredRequest
  readonly http: Pick<HttpRequest, 'headers' | 'signal' | 'onAccepted'>
  isAccepted: boolean
  settle(outcome: ForwardResponse | TunnelError): void
}

/** The requests of this tab that another one has on disk and sends: each is asked for again when there is a new owner. */
export class Calls {
  readonly #tab = crypto.randomUUID()
  readonly #maxCalls: number
  /** By an id of their own: a program may give two requests the same key, one after the other or at once. */
  readonly #calls = new Map<string, Call>()
  readonly #owner: Channel
  readonly #all: Channel
  readonly #own: Channel

  /** @param maxCalls how many may be without an outcome at once */
  constructor(queue: string, maxCalls: number) {
    const { all, owner, tab } = channelsOf(queue)
    this.#maxCalls = maxCalls
    this.#owner = new BroadcastChannel(owner)
    this.#all = new BroadcastChannel(all)
    this.#own = new BroadcastChannel(tab(this.#tab))
    this.#all.onmessage = () => {
      for (const id of this.#calls.keys()) this.#ask(id)
    }
    this.#own.onmessage = ({ data }: { data: ToTab }) => this.#told(data)
  }

  /** Rejects with the error that the owner's own promise would have rejected with. */
  send(request: StoredRequest, http: Call['http']): Promise<ForwardResponse> {
    if (this.#calls.size >= this.#maxCalls) {
      const text = `the queue is full: this tab has ${this.#maxCalls} requests in it`
      return Promise.reject(new TunnelError('QUEUE_FULL', text, { hop: 'client' }))
    }
    return new Promise((resolve, reject) => {
      const id = crypto.randomUUID()
      const { signal } = http
      const cancel = (): void => this.#tell({ kind: 'cancel', id })
      const settle = (outcome: ForwardResponse | TunnelError): void => {
        this.#calls.delete(id)
        signal?.removeEventListener('abort', cancel)
        if (outcome instanceof ForwardResponse) resolve(outcome)
        else reject(outcome)
      }
      this.#calls.set(id, { request, http, isAccepted: false, settle })
      this.#ask(id)
      signal?.addEventListener('abort', cancel, { once: true })
    })
  }

  /** This tab closes. What was accepted is carried out all the same; the rest is taken back. */
  close(reason: TunnelError): void {
    for (const [id, { isAccepted, settle }] of this.#calls) {
      if (!isAccepted) this.#tell({ kind: 'cancel', id })
      settle(isAccepted ? stillQueued(reason) : reason)
    }
    for (const channel of [this.#owner, this.#all, this.#own]) channel.close()
  }

  #ask(id: string): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    const { request, isAccepted, http } = call
    this.#tell({ kind: 'call', id, from: this.#tab, request, headers: http.headers, isAccepted })
    if (http.signal?.aborted) this.#tell({ kind: 'cancel', id })
  }

  #tell(message: ToOwner): void {
    this.#owner.postMessage(message)
  }

  #told(message: ToTab): void {
    const call = this.#calls.get(message.id)
    if (call === undefined) return
    if (message.kind === 'answer') return call.settle(new ForwardResponse(message.head, message.body))
    if (message.kind === 'failed') return call.settle(errorFromWire(message.error))
    if (call.isAccepted) return
    call.isAccepted = true
    call.http.onAccepted?.()
  }
}
