import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, HttpResponseHead, Priority } from '../protocol/codec/heads.ts'
import { Deadline } from './deadline.ts'
import { Exchange } from './exchange.ts'
import { withContentLength } from './headers.ts'
import type { MetricsCollector } from './metrics/collector.ts'
import { inPlace, type NewStreamHead, type OpenStream } from './opening.ts'
import { isIdempotent, retryDecision } from './outcome.ts'
import type { RequestQueue } from './request-queue.ts'
import type { ResponseBody } from './response-body.ts'
import { type BodyLike, inMemory, knownSize } from './upload.ts'

/** One HTTP request, in the terms of the wire. */
export interface HttpRequest {
  machine: string
  /** `host:port` on the machine's side. */
  target: string
  method: string
  /** Path and query. */
  path: string
  headers: HeaderList
  body?: BodyLike | undefined
  priority?: Priority | undefined
  /** May be sent again when its outcome is unknown. @default what RFC 9110 says of the method */
  idempotent?: boolean | undefined
  signal?: AbortSignal | null | undefined
  /** Until the response head is there; the time in which the body moves does not count. */
  timeoutMs: number
}

export interface HttpAnswer {
  head: HttpResponseHead
  body: ResponseBody
  /** Ends the stream, both ways. */
  reset(error: TunnelError): void
}

/** What requests go through. */
export interface RequestPath {
  readonly clock: Clock
  readonly queue: RequestQueue
  readonly metrics: MetricsCollector
  readonly open: OpenStream
  /** No link is coming any more. */
  readonly final: () => boolean
}

/** Before another try, in ms; doubles. The opener itself waits for a link, so this is for a proxy that refuses. */
const RETRY_MS = 100

/**
 * Sends a request and resolves at its response head. What was certainly not executed, and what may be executed twice,
 * is tried again.
 * @throws {TunnelError} among others TIMEOUT, ABORTED, QUEUE_FULL, OUTCOME_UNKNOWN
 */
export async function sendRequest(path: RequestPath, request: HttpRequest): Promise<HttpAnswer> {
  const startedAtMs = path.clock.now()
  const { signal, timeoutMs, method, machine } = request
  const deadline = new Deadline(path.clock, signal, timeoutMs, `${method} to ${machine} was not answered`)
  // Encoded once, however often it is sent.
  const body = request.body === undefined ? undefined : (inMemory(request.body) ?? request.body)
  const size = knownSize(body)
  const head: NewStreamHead = {
    kind: 'http',
    machine,
    target: request.target,
    priority: request.priority ?? 'normal',
    http: {
      method,
      path: request.path,
      headers: withContentLength(request.headers, method, size),
    },
  }
  try {
    for (let tries = 1; ; tries++) {
      let attempt: Exchange | undefined
      try {
        attempt = await start(path, head, body, deadline)
        const { stream, body: responseBody } = attempt
        const answer = await attempt.head
        deadline.stopTimer()
        path.metrics.answered(path.clock.now() - startedAtMs)
        return { head: answer, body: responseBody, reset: (error) => stream.reset(error) }
      } catch (error) {
        const failed = asTunnelError(error, 'client')
        if (deadline.reason !== undefined) throw failed
        const decision = retryDecision({
          error: failed,
          tries,
          sent: attempt?.stream.openedAtMs !== undefined,
          idempotent: request.idempotent ?? isIdempotent(method),
          replayable: size !== undefined,
          final: path.final(),
        })
        if (decision !== 'retry') throw decision
        await pause(path.clock, failed.retryAfterMs ?? RETRY_MS * 2 ** (tries - 1), deadline)
      }
    }
  } catch (error) {
    deadline.end()
    const failed = asTunnelError(error, 'client')
    path.metrics.failed(failed)
    throw failed
  }
}

/** Takes a place and opens the stream; the place comes back when the stream is over. */
function start(
  path: RequestPath,
  head: NewStreamHead,
  body: BodyLike | undefined,
  deadline: Deadline,
): Promise<Exchange> {
  return inPlace(path.queue, head.priority, deadline, (release) => {
    const giveUp = () => exchange.stream.reset(deadline.reason as TunnelError)
    const onOver = (answered: boolean) => {
      release()
      deadline.offGivenUp(giveUp)
      if (answered) deadline.end()
    }
    const exchange = new Exchange(path.open, head, body, onOver, () => deadline.moved())
    deadline.onGivenUp(giveUp)
    return exchange
  })
}

function pause(clock: Clock, ms: number, deadline: Deadline): Promise<void> {
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
