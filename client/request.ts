import type { Clock } from '../protocol/clock.ts'
import type { TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, HttpResponseHead, Priority } from '../protocol/codec/heads.ts'
import type { Hooks } from './hooks.ts'
import type { ClientMetrics } from './metrics/collector.ts'
import type { OpenStream } from './opening.ts'
import type { RequestQueue } from './queue/request-queue.ts'
import type { ResponseBody } from './response-body.ts'
import type { BodyLike } from './upload.ts'

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
  /** From now on, its waits included, in ms. */
  expiresInMs?: number | undefined
  kept?: Kept | undefined
  /** It has its place in the queue, and is on disk where it is kept. */
  onAccepted?: (() => void) | undefined
}

/** A request that is on disk: its `timeoutMs` counts from when it is sent, because its waits may outlive the program. */
export interface Kept {
  /** It was accepted in another life of the program. */
  readonly isRestored: boolean
  /** Resolves when it is on disk. Rejects when it could not be written, and it is not sent then. */
  accept(): Promise<void>
  /**
   * Its turn to be sent, after those before it. For one that must not be sent twice the disk then knows that it may have
   * been sent.
   */
  sending(mayRepeat: boolean): Promise<void>
  /** What was sent has certainly not been carried out: the disk may forget that it was. */
  refused(): void
  /** Called once, when it is over here. @param hasOutcome false: it is the next start's */
  over(hasOutcome: boolean): void
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
  readonly metrics: ClientMetrics
  readonly hooks: Hooks
  readonly open: OpenStream
  /** No link is coming any more, or it was for that reason that this was given `error`: a link may be dialled again by now. */
  readonly final: (error: TunnelError) => boolean
}
