import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import type { TraceContext } from '../../protocol/codec/trace-context.ts'
import type { User } from '../auth/index.ts'
import type { SpanName } from './spans.ts'

/** What of a link, or of a stream, its span tells. */
interface Whose {
  readonly user: User
  readonly connectionId: string
  readonly correlationId: string
}

/** A link, as its door knows it. */
export interface TracedLink extends Whose {
  readonly role: string
  readonly machine?: string
}

/** A stream, from the first that is known of it on. */
export interface TracedStream extends Whose {
  readonly head: RoutedHead
  readonly mode: string
  readonly moved: boolean
  readonly machine: string
  readonly owner?: string
  readonly target?: string
}

/** The span of a link. */
export interface LinkTrace {
  /** Once. Without an error its peer left in order. */
  ended(link: TracedLink, error: TunnelError | undefined): void
}

/** The span of a stream, from OPEN to its real end. */
export interface StreamTrace {
  readonly traceId: string
  /** It is kept, as far as is known before its end. */
  readonly isSampled: boolean
  /** For whoever does the stream's work further on. */
  readonly traceparent: string
  /** What `work` begins belongs to the stream. */
  within<T>(work: () => T): T
  during<T>(name: SpanName, work: () => Promise<T>): Promise<T>
  /** The machine took the stream; of a request, the head of the response is there. */
  answered(latencyMs: number): void
  suspended(): void
  resumed(gapMs: number): void
  /** Once. */
  ended(
    stream: TracedStream,
    end: { error: TunnelError | undefined; bytesIn: number; bytesOut: number },
  ): void
}

/** Tells of the proxy's work as spans of the traces of those who ask for it. */
export interface Tracing {
  /**
   * Makes a span of `work`, below the one whose work it is; without one, `work` is done and nothing is told. A plugin may
   * give its own spans any name.
   */
  during<T>(name: SpanName | (string & {}), work: () => Promise<T>): Promise<T>
  /** What is done now, for whoever does a part of it. */
  traceContext(): TraceContext
  /** A link that `request` has become. Undefined where nothing is told. */
  link(link: TracedLink, request: object): LinkTrace | undefined
  /** @param given whose work its opener says that it is */
  stream(stream: TracedStream, given: TraceContext): StreamTrace | undefined
}

/** Nothing is told. */
export const OFF: Tracing = {
  during: (_name, work) => work(),
  traceContext: () => ({}),
  link: () => undefined,
  stream: () => undefined,
}
