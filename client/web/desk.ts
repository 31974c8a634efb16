import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError } from '../../protocol/codec/errors.ts'
import { Recent } from '../../protocol/recent.ts'
import type { ForwardResponse } from '../forward-response.ts'
import { outcomeUnknown } from '../outcome.ts'
import type { RequestKeeper } from '../queue/keeper.ts'
import type { RestoredRequest } from '../queue/queued-request.ts'
import { type Channel, channelsOf, type ToOwner, type ToTab } from './messages.ts'

/** How long the outcome of a request is kept for the tab that waits for it, in ms, and of how many. */
const KEEP_MS = 60_000
const KEEP_MOST = 1_000

/** A request of another tab, while this one has it in hand. */
interface Job {
  from: string
  isAccepted: boolean
  cancel(): void
}

/** The owner's side of the calls between tabs: takes each request once, and tells the tab that asked what became of it. */
export class Desk {
  readonly #kept: RequestKeeper
  readonly #names: ReturnType<typeof channelsOf>
  readonly #owner: Channel
  /** Of an earlier owner, and not over. */
  readonly #restored = new Map<string, RestoredRequest>()
  /** The same, and over: their tab may ask a moment later. */
  readonly #over: Recent<RestoredRequest>
  /** By the id of the call, as what follows. */
  readonly #jobs = new Map<string, Job>()
  /** Whose outcome was told: what asks for them again has it on the way. */
  readonly #told: Recent<true>

  constructor(kept: RequestKeeper, clock: Clock, queue: string) {
    this.#kept = kept
    this.#over = new Recent(clock, KEEP_MS, KEEP_MOST)
    this.#told = new Recent(clock, KEEP_MS, KEEP_MOST)
    this.#names = channelsOf(queue)
    this.#owner = new BroadcastChannel(this.#names.owner)
    kept.on('restored', (requests) => this.#add(requests))
  }

  /** Everything that was kept is known: the tabs may ask. */
  open(): void {
    this.#owner.onmessage = ({ data }: { data: ToOwner }) => this.#asked(data)
    post(this.#names.all, 'owner')
  }

  close(): void {
    this.#owner.close()
  }

  #add(requests: readonly RestoredRequest[]): void {
    for (const request of requests) {
      this.#restored.set(request.id, request)
      void request.over.then(() => {
        this.#restored.delete(request.id)
        this.#over.add(request.id, request)
      })
    }
  }

  #asked(message: ToOwner): void {
    const { id } = message
    const job = this.#jobs.get(id)
    if (message.kind === 'cancel') return job?.cancel()
    if (job === undefined && this.#told.get(id) === undefined) return this.#begin(message)
    // Asked by a tab that did not know that this one is the owner already.
    if (job?.isAccepted) this.#tell(message.from, { kind: 'accepted', id })
  }

  #begin(message: Extract<ToOwner, { kind: 'call' }>): void {
    const { id, from, request } = message
    const cancel = new AbortController()
    const restored = this.#restored.get(request.id) ?? this.#over.get(request.id)
    const job: Job = { from, isAccepted: false, cancel: () => cancel.abort() }
    if (restored !== undefined) job.cancel = () => restored.cancel()
    this.#jobs.set(id, job)
    const accepted = (): void => {
      job.isAccepted = true
      this.#tell(from, { kind: 'accepted', id })
    }
    if (restored !== undefined) accepted()
    this.#tellOutcome(id, job, restored?.response ?? this.#send(message, cancel.signal, accepted))
  }

  async #send(
    { request, headers, isAccepted }: Extract<ToOwner, { kind: 'call' }>,
    signal: AbortSignal,
    onAccepted: () => void,
  ): Promise<ForwardResponse> {
    // An owner had it, and it is not on disk any more: it was carried out, and its answer lost with that owner.
    if (isAccepted && !request.idempotent) throw outcomeUnknown()
    const { machine, target, method, path, priority, idempotent, timeoutMs, expiresAtMs } = request
    const expiresInMs = expiresAtMs === undefined ? undefined : Math.max(0, expiresAtMs - Date.now())
    const http = { machine, target, method, path, priority, idempotent, timeoutMs, expiresInMs }
    return this.#kept.send(request, { ...http, headers, signal, onAccepted })
  }

  async #tellOutcome(id: string, { from }: Job, response: Promise<ForwardResponse>): Promise<void> {
    try {
      const { status, statusText, rawHeaders: headers, body } = await response
      this.#told.add(id, true)
      this.#tell(from, { kind: 'answer', id, head: { status, statusText, headers }, body })
    } catch (thrown) {
      const error = asTunnelError(thrown, 'client')
      // It has no outcome: the next owner, or the next connection of this one, has it again.
      if (error.code === 'STILL_QUEUED') return
      this.#told.add(id, true)
      this.#tell(from, { kind: 'failed', id, error: error.toWire() })
    } finally {
      this.#jobs.delete(id)
    }
  }

  #tell(tab: string, message: ToTab): void {
    post(this.#names.tab(tab), message)
  }
}

/** A channel that is closed still delivers what it was given; one that is kept for each tab would outlive its tab. */
function post(channelName: string, message: ToTab | 'owner'): void {
  const channel = new BroadcastChannel(channelName)
  channel.postMessage(message)
  channel.close()
}
