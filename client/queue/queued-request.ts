import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { ForwardResponse } from '../forward-response.ts'
import type { StoredRequest } from './record.ts'

const ignore = (): void => {}

/** What it throws at once is what its promise rejects with. */
function begun<T>(run: (accepted: () => void) => Promise<T>, accepted: () => void): Promise<T> {
  try {
    return run(accepted)
  } catch (error) {
    return Promise.reject(error)
  }
}

/** A request that was given to `enqueue`, and what becomes of it. */
export class QueuedRequest {
  /** The same over restarts of the program, and the request's Idempotency-Key where it has one. */
  readonly id: string
  /** It has its place in the queue, and is on disk where it is kept. Rejects with the response's error. */
  readonly accepted: Promise<void>
  readonly #response: Promise<ForwardResponse>
  #isClaimed = false
  #accept: () => void = ignore
  #refuse: (error: unknown) => void = ignore

  /**
   * @param run sends it; `accepted` is to be called when it is accepted
   * @param unclaimed is told of a failure whose promise nobody has asked for
   */
  constructor(
    id: string,
    run: (accepted: () => void) => Promise<ForwardResponse>,
    unclaimed: (error: TunnelError) => void,
  ) {
    this.id = id
    this.accepted = new Promise((resolve, reject) => {
      this.#accept = resolve
      this.#refuse = reject
    })
    this.accepted.catch(ignore)
    this.#response = begun(run, () => {
      this.#accept()
      // From here on it waits, for long perhaps.
      this.#accept = this.#refuse = ignore
    })
    this.#response.catch((error: unknown) => {
      this.#refuse(error)
      const failed = asTunnelError(error, 'client')
      if (!this.#isClaimed && failed.code !== 'STILL_QUEUED') unclaimed(failed)
    })
  }

  /** Resolves when it has its outcome, whatever that is. */
  get over(): Promise<void> {
    return this.#response.then(ignore, ignore)
  }

  /**
   * The answer. Who never asks for it may forget the request: its failure is then told by the client's event 'error'.
   * Rejects with STILL_QUEUED when the client closed first and the request is on disk for the next start.
   */
  get response(): Promise<ForwardResponse> {
    this.#isClaimed = true
    // A promise of its own: who asks for it and then does not handle its rejection hears of that from the platform.
    return this.#response.then((response) => response)
  }
}

/** A request of an earlier start, or of another program that has handed it over. */
export class RestoredRequest extends QueuedRequest {
  readonly request: Readonly<StoredRequest>
  /** It may have been sent, and must not be sent twice: its response rejects with OUTCOME_UNKNOWN. */
  readonly maybeSent: boolean
  readonly #cancel: AbortController

  constructor(
    request: StoredRequest,
    maybeSent: boolean,
    run: (signal: AbortSignal) => Promise<ForwardResponse>,
    unclaimed: (error: TunnelError) => void,
  ) {
    const cancel = new AbortController()
    const begin = (accepted: () => void) => {
      accepted()
      return run(cancel.signal)
    }
    super(request.id, begin, unclaimed)
    this.request = request
    this.maybeSent = maybeSent
    this.#cancel = cancel
  }

  /** Takes it off the queue and the disk; where it has been sent the far side is told that nobody waits. */
  cancel(): void {
    this.#cancel.abort()
  }
}
