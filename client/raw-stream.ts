import { asTunnelError, type TunnelError } from '../protocol/codec/errors.ts'
import { type AddedKind, isAddedKind, type Priority } from '../protocol/codec/heads.ts'
import { readTraceContext } from '../protocol/codec/trace-context.ts'
import { StreamDuplex } from '../protocol/node/duplex.ts'
import type { TunnelStream } from '../protocol/stream/stream.ts'
import { checkAsked } from './asked.ts'
import { Deadline } from './deadline.ts'
import { type DuplexPath, type NewStreamHead, openInPlace } from './opening.ts'
import { configInvalid } from './queue/errors.ts'
import { checkedTarget } from './target.ts'
import type { TraceOptions } from './tracing.ts'

/** What any byte stream may be asked with. */
export interface StreamOptions extends TraceOptions {
  /** @default 'normal' */
  priority?: Priority
  /** Ends the wait, and afterwards the stream. */
  signal?: AbortSignal
  /** Until the far side has accepted, in ms. @default settings.request.timeoutMs */
  timeoutMs?: number
}

/** A byte stream to a machine. */
export interface RawStream extends StreamOptions {
  machine: string
  /**
   * `ssh`: sealed, to the machine's SSH server. `tcp`: inspected, to `target`. `sftp`: inspected, the sftp subsystem.
   * `x-…`: inspected, what a plugin of the proxy has added.
   */
  kind: 'ssh' | 'tcp' | 'sftp' | AddedKind
  /** `host:port` on the machine's side; needed for `tcp`. */
  target?: string
  /** What the plugin of an added kind is told: JSON, beside the fields that every stream has. */
  parameters?: Record<string, unknown>
  /** Leaves with the wish for the stream, and so a round trip earlier than what is written later; 65,536 bytes at most. */
  first?: Uint8Array
}

/** Resolves when the far side has accepted. @throws {TunnelError} */
export async function openRawStream(way: DuplexPath, request: RawStream): Promise<StreamDuplex> {
  return openDuplex(way, rawHead(request), request, false, request.first)
}

const KINDS: ReadonlySet<string> = new Set(['ssh', 'tcp', 'sftp'])

/** @throws {TunnelError} CONFIG_INVALID */
export function rawHead({ machine, kind, target, parameters }: RawStream): Omit<NewStreamHead, 'priority'> {
  if (!KINDS.has(kind) && !isAddedKind(kind))
    throw configInvalid(`kind = ${JSON.stringify(kind)}: is not ssh, tcp, sftp or x-NAME`)
  if (kind === 'tcp' && target === undefined) throw configInvalid('target: a tcp stream needs one')
  const head: Omit<NewStreamHead, 'priority'> = { kind, machine }
  if (target !== undefined) head.target = checkedTarget(target)
  if (parameters !== undefined) head.further = JSON.stringify(parameters)
  return head
}

/**
 * @param aux whether its second channel is wanted
 * @param first leaves with OPEN
 * @throws {TunnelError}
 */
export function openDuplex(
  way: DuplexPath,
  head: Omit<NewStreamHead, 'priority'>,
  options: StreamOptions,
  aux = false,
  first?: Uint8Array,
): Promise<StreamDuplex> {
  const take = async (stream: TunnelStream, place: StreamPlace): Promise<StreamDuplex> => {
    const duplex = await StreamDuplex.accepted(stream, { aux, accepted: () => place.accepted() })
    duplex.once('close', () => place.over())
    return duplex
  }
  return openStream(way, head, options, take, first)
}

/** What whoever has a new stream says of it. */
export interface StreamPlace {
  /** The far side has answered: the wait is over. */
  accepted(): void
  /** The stream is over: its place on the link is another's. */
  over(): void
}

/**
 * Opens a stream once there is a place for it on the link; `take` resolves when the far side has accepted.
 * @throws {TunnelError}
 */
export async function openStream<T>(
  { path, opener, defaultTimeoutMs }: DuplexPath,
  head: Omit<NewStreamHead, 'priority'>,
  { priority = 'normal', signal, timeoutMs = defaultTimeoutMs, traceparent, tracestate }: StreamOptions,
  take: (stream: TunnelStream, place: StreamPlace) => Promise<T>,
  first?: Uint8Array,
): Promise<T> {
  checkAsked({ machine: head.machine, priority, timeoutMs })
  const asked = head.target ?? 'the SSH server'
  const deadline = new Deadline(path.clock, signal, timeoutMs, `${asked} on ${head.machine} did not answer`)
  const trace = readTraceContext({ traceparent, tracestate })
  try {
    return await openInPlace(path.queue, priority, deadline, (release) => {
      const stream = opener().open({ ...head, ...trace, priority }, first)
      deadline.onGivenUp(() => stream.reset(deadline.reason as TunnelError))
      return take(stream, {
        accepted: () => deadline.stopTimer(),
        over: () => {
          release()
          deadline.end()
        },
      })
    })
  } catch (error) {
    deadline.end()
    throw asTunnelError(error, 'client')
  }
}
