import { asTunnelError, type TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, Priority } from '../protocol/codec/heads.ts'
import { isIdempotent } from '../protocol/codec/http-rules.ts'
import { Deadline } from './deadline.ts'
import { Exchange } from './exchange.ts'
import { headerList, withContentLength } from './headers.ts'
import type { RequestContext, ResponseContext } from './hooks.ts'
import type { NewStreamHead } from './opening.ts'
import { afterGivingUp, retryDecision, stillQueued } from './outcome.ts'
import type { Queued } from './queue/request-queue.ts'
import type { HttpAnswer, HttpRequest, RequestPath } from './request.ts'
import { type BodyLike, inMemory, knownSize } from './upload.ts'

/** Before another try, in ms; doubles. The queue itself waits for a link, so this is for a proxy that refuses. */
const RETRY_MS = { first: 100, most: 30_000 }

/**
 * Sends a request. What was certainly not executed, and what may be executed twice, is tried again.
 * @param take makes of the answer what is wanted; while it does, a lost answer counts as one that did not come
 * @throws {TunnelError} among others TIMEOUT, ABORTED, QUEUE_FULL, OUTCOME_UNKNOWN, and STILL_QUEUED for one that is kept
 */
export function sendRequest<T>(
  path: RequestPath,
  request: HttpRequest,
  take: (answer: HttpAnswer) => T | Promise<T>,
): Promise<T> {
  return new Sending(path, request).run(take)
}

/** One request on its way to its answer, in as many tries as it takes. */
class Sending implements Queued {
  readonly priority: Priority
  readonly bytes: number
  readonly deadline: Deadline
  readonly #path: RequestPath
  readonly #request: HttpRequest
  /** Encoded once, however often it is sent. */
  readonly #body: BodyLike | undefined
  readonly #size: number | undefined
  readonly #idempotent: boolean
  readonly #expiresAtMs: number
  readonly #startedAtMs: number
  /** What the caller wanted has been made of the answer; what is left of it is still the caller's to read. */
  #isTaken = false

  constructor(path: RequestPath, request: HttpRequest) {
    const { machine, method, kept, expiresInMs, priority = 'normal' } = request
    this.priority = priority
    this.#path = path
    this.#request = request
    this.#startedAtMs = path.clock.now()
    this.#expiresAtMs = this.#startedAtMs + (expiresInMs ?? Number.POSITIVE_INFINITY)
    this.#idempotent = request.idempotent ?? isIdempotent(method)
    this.#body = request.body === undefined ? undefined : (inMemory(request.body) ?? request.body)
    this.#size = knownSize(this.#body)
    this.bytes = this.#size ?? 0
    const waitMs = kept === undefined ? this.#limitMs : this.#leftMs
    const what = `${method} to ${machine} was not answered`
    this.deadline = new Deadline(path.clock, request.signal, waitMs, what)
  }

  async run<T>(take: (answer: HttpAnswer) => T | Promise<T>): Promise<T> {
    const { kept } = this.#request
    const { queue } = this.#path
    try {
      queue.enter(this, kept?.isRestored)
      if (kept !== undefined) await kept.accept()
      this.#request.onAccepted?.()
      // Nobody else is to be told, and what is kept for it waits as long as this.
      this.#request.onAccepted = undefined
      let waitMs: number | undefined
      for (let tries = 1; ; ) {
        let attempt: Attempt | undefined
        try {
          // In here, because its end says as much of the request as that of a try: one on disk stays there.
          if (waitMs !== undefined) await this.#pause(waitMs)
          attempt = await this.#start(await queue.turn(this), tries)
          return await this.#answer(attempt, take)
        } catch (error) {
          const failure = asTunnelError(error, 'client')
          waitMs = this.#afterFailure(failure, tries, attempt)
          // Without a place on the link nothing was tried: streams that come back after a cut may have them for a while.
          if (attempt !== undefined || failure.code !== 'TOO_MANY_STREAMS') tries++
          // It waits again; there is room for what has been accepted.
          queue.enter(this, true)
        }
      }
    } catch (error) {
      queue.leave(this)
      this.deadline.end()
      const failed = asTunnelError(error, 'client')
      kept?.over(failed.code !== 'STILL_QUEUED')
      this.#path.metrics.failed(failed)
      this.#tell({ error: failed })
      throw failed
    }
  }

  async #answer<T>(attempt: Attempt, take: (answer: HttpAnswer) => T | Promise<T>): Promise<T> {
    const { stream, body } = attempt.exchange
    const head = await attempt.exchange.head
    const latencyMs = this.#path.clock.now() - this.#startedAtMs
    this.deadline.stopTimer()
    const taken = await take({ head, body, reset: (error) => stream.reset(error) })
    this.#isTaken = true
    if (attempt.isOver) this.deadline.end()
    this.#request.kept?.over(true)
    this.#path.metrics.answered(latencyMs)
    this.#tell({ status: head.status, headers: head.headers })
    return taken
  }

  /** Tells hooks how it ended. */
  #tell(outcome: Pick<ResponseContext, 'status' | 'headers' | 'error'>): void {
    const { machine, method, path } = this.#request
    const latencyMs = this.#path.clock.now() - this.#startedAtMs
    this.#path.hooks.onResponse({ machine, method, path, latencyMs, ...outcome })
  }

  get #headers(): HeaderList {
    return withContentLength(this.#request.headers, this.#request.method, this.#size)
  }

  /** Made for each try: of those that wait there are many. */
  #head(headers: HeaderList): NewStreamHead {
    const { machine, target, method, path } = this.#request
    return { kind: 'http', machine, target, priority: this.priority, http: { method, path, headers } }
  }

  /** What hooks make of the headers. @throws {TunnelError} */
  async #hooked(attempt: number): Promise<HeaderList> {
    const { machine, target, method, path } = this.#request
    const { priority } = this
    const context: RequestContext = {
      ...{ machine, target, method, path, priority, attempt },
      headers: [...this.#headers],
    }
    await this.#path.hooks.onRequest(context)
    return headerList(context.headers)
  }

  /** Opens the stream in the place that was got; the place comes back when the stream is over, or there is none. */
  async #start(release: () => void, tries: number): Promise<Attempt> {
    try {
      const headers = this.#path.hooks.has('onRequest') ? await this.#hooked(tries) : this.#headers
      this.#checkWanted()
      const { kept } = this.#request
      if (kept !== undefined) {
        await kept.sending(this.#idempotent)
        this.deadline.limit(this.#limitMs)
        this.#checkWanted()
      }
      return this.#open(this.#head(headers), release)
    } catch (error) {
      release()
      throw error
    }
  }

  #checkWanted(): void {
    if (this.deadline.reason !== undefined) throw this.deadline.reason
  }

  #open(head: NewStreamHead, release: () => void): Attempt {
    const deadline = this.deadline
    const giveUp = () => exchange.stream.reset(deadline.reason as TunnelError)
    const attempt: { exchange: Exchange; isOver: boolean } = { exchange: undefined as never, isOver: false }
    const onOver = () => {
      attempt.isOver = true
      release()
      deadline.offGivenUp(giveUp)
      if (this.#isTaken) deadline.end()
    }
    const exchange = new Exchange(this.#path.open, head, this.#body, onOver, () =>
      deadline.moved(this.#expiresAtMs),
    )
    attempt.exchange = exchange
    deadline.onGivenUp(giveUp)
    return attempt
  }

  /** How long to wait before the next try, in ms. @throws {TunnelError} what the request ends with */
  #afterFailure(error: TunnelError, tries: number, attempt: Attempt | undefined): number {
    const { kept } = this.#request
    const final = this.#path.final(error)
    const isAnswered = attempt?.exchange.isAnswered === true
    const failed = {
      error,
      tries,
      progress: attempt?.exchange.progress ?? 'unsent',
      idempotent: this.#idempotent,
      replayable: this.#size !== undefined,
      final,
      kept: kept !== undefined,
    }
    const isGivenUp = this.deadline.reason !== undefined && (this.deadline.isCallers || !final)
    if (isGivenUp) throw afterGivingUp(failed)
    const decision = retryDecision(failed)
    if (decision !== 'retry') {
      if (kept === undefined || !final || decision.code === 'OUTCOME_UNKNOWN') throw decision
      kept.refused()
      throw stillQueued(decision)
    }
    // Its waits do not count, and a request whose answer broke off had been answered in time.
    kept?.refused()
    if (kept !== undefined) this.deadline.limit(this.#leftMs)
    else if (isAnswered) this.deadline.limit(this.#limitMs)
    return error.retryAfterMs ?? Math.min(RETRY_MS.most, RETRY_MS.first * 2 ** Math.min(tries - 1, 16))
  }

  /** Until it expires, in ms; undefined where it does not. */
  get #leftMs(): number | undefined {
    const leftMs = this.#expiresAtMs - this.#path.clock.now()
    return leftMs === Number.POSITIVE_INFINITY ? undefined : Math.max(0, leftMs)
  }

  /** For the response head, in ms. */
  get #limitMs(): number {
    return Math.min(this.#request.timeoutMs, this.#leftMs ?? Number.POSITIVE_INFINITY)
  }

  #pause(ms: number): Promise<void> {
    const deadline = this.deadline
    const { clock } = this.#path
    if (deadline.reason !== undefined) return Promise.reject(deadline.reason)
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(() => {
        deadline.offGivenUp(giveUp)
        resolve()
      }, ms)
      const giveUp = () => {
        clock.clearTimer(timer)
        reject(deadline.reason)
      }
      deadline.onGivenUp(giveUp)
    })
  }
}

interface Attempt {
  readonly exchange: Exchange
  readonly isOver: boolean
}
