import { ChurningMap } from '../churn.ts'
import { type Clock, systemClock } from '../clock.ts'
import { asTunnelError, errorFromWire, type Hop, TunnelError } from '../codec/errors.ts'
import { encodeJson, FrameType } from '../codec/frames.ts'
import { headCost } from '../codec/head-cost.ts'
import type { ResumeHead } from '../codec/heads.ts'
import type { IncomingOpen, IncomingResume } from '../link/handlers.ts'
import type { StreamsOptions } from '../options.ts'
import type { Budget } from './budget.ts'
import { type ClosedStream, ClosedStreams } from './closed-streams.ts'
import { TunnelStream } from './stream.ts'

export interface AcceptorOptions {
  settings: StreamsOptions
  clock?: Clock
  /** The memory of one subject's streams; the same object for the same subject. */
  budgetOf?(subject: string | undefined): Budget | undefined
  /** Where this acceptor is, for the errors that it makes itself. */
  hop: Hop
  /** A new stream: `accept` or `reset` it, now or later. */
  onStream?: OnStream
  /** Someone asked for a stream that belongs to somebody else. */
  onForeignResume?(id: string, subject: string | undefined): void
  onResumed?(stream: TunnelStream): void
}

/** Whoever takes one stream, in place of the acceptor's own options. */
export interface StreamTaker {
  onStream?: OnStream | undefined
  /** Once, when the stream is over. */
  onOver?(error: TunnelError | undefined): void
}

export type OnStream = (stream: TunnelStream, subject: string | undefined) => void

/** What a head may hold before it counts beside its stream's window, in bytes: an ordinary one does not. */
const FREE_HEAD_BYTES = 4_096

/** Streams that are over and remembered, at most. */
const MAX_OVER = 4_096

/** The streams that others have opened here. Whoever calls has authorised the subject before. */
export class StreamAcceptor {
  readonly #options: AcceptorOptions
  readonly #clock: Clock
  readonly #streams = new ChurningMap<string, { stream: TunnelStream; subject: string | undefined }>()
  readonly #over: ClosedStreams
  #closed: TunnelError | undefined

  constructor(options: AcceptorOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#over = new ClosedStreams(this.#clock, options.settings.resumeMs, MAX_OVER)
  }

  get size(): number {
    return this.#streams.size
  }
  /** Streams that are over and still remembered. */
  get remembered(): number {
    return this.#over.size
  }
  get streams(): Iterable<TunnelStream> {
    return this.#values()
  }

  *#values(): Generator<TunnelStream> {
    for (const { stream } of this.#streams.values()) yield stream
  }

  /** Whether the stream is here, or was within the resume window. */
  knows(id: string): boolean {
    return this.#streams.has(id) || this.#over.get(id) !== undefined
  }

  /**
   * Takes a stream's place at once; it is the subject's from here on. Returns why it was refused, which its opener has
   * been told.
   */
  open(open: IncomingOpen, subject: string | undefined, taker: StreamTaker = {}): TunnelError | undefined {
    const { link, number, head } = open
    const { onStream = this.#options.onStream } = taker
    const refuse = (error: TunnelError): TunnelError => {
      link.refuse(number, error)
      return error
    }
    if (this.#closed !== undefined) return refuse(this.#closed)
    const known = this.#streams.get(head.id)
    if (known !== undefined || this.#over.get(head.id) !== undefined) {
      this.#openAgain(open, subject)
      return undefined
    }
    const { windowBytes, maxWindowBytes, resumeMs } = this.#options.settings
    const budget = this.#options.budgetOf?.(subject)
    const headBytes = Math.max(0, headCost(head, open.headBytes) - FREE_HEAD_BYTES)
    let stream: TunnelStream
    try {
      stream = new TunnelStream({
        side: 'acceptor',
        head,
        limits: { windowBytes, maxWindowBytes, headBytes, budget },
        resumeMs: Math.min(resumeMs, link.peer?.resumeMs ?? resumeMs),
        clock: this.#clock,
        first: open.first,
        firstEnds: open.ends,
        owner: {
          onOver: (error) => {
            this.#onOver(stream, subject, error)
            taker.onOver?.(error)
          },
        },
      })
    } catch (thrown) {
      const { hop } = this.#options
      const { code, message } = asTunnelError(thrown, hop)
      return refuse(new TunnelError(code, message, { cause: thrown, hop }))
    }
    this.#streams.set(head.id, { stream, subject })
    stream.acceptOn(link, number)
    try {
      onStream?.(stream, subject)
    } catch (error) {
      stream.reset(asTunnelError(error, this.#options.hop))
    }
    return undefined
  }

  /** Its opener has given the stream up where it cannot be told so: on a link that it has not been resumed on. */
  abandon(id: string, subject: string | undefined, error: TunnelError): void {
    const known = this.#streams.get(id)
    if (known?.subject === subject) known?.stream.reset(error)
  }

  /** An OPEN whose first copy arrived after all: it goes on as what it is, from its beginning. */
  #openAgain({ link, number, head, headBytes }: IncomingOpen, subject: string | undefined): void {
    const resume = { ...head, received: 0, limit: head.window, attempt: head.attempt ?? 0 }
    this.resume({ link, number, head: resume, headBytes }, subject)
  }

  resume(resume: IncomingResume, subject: string | undefined): void {
    const { link, number, head } = resume
    const known = this.#streams.get(head.id)
    if (known !== undefined && known.subject === subject && isSame(known.stream.head, head)) {
      if (head.attempt <= known.stream.attempt) return link.refuse(number, stale())
      known.stream.resumedOn(link, number, head)
      this.#options.onResumed?.(known.stream)
      return
    }
    const over = this.#over.get(head.id)
    if (over !== undefined && over.subject === subject && isSame(over.resume, head))
      return this.#resumeOver(resume, over)
    if (known !== undefined || over !== undefined) this.#options.onForeignResume?.(head.id, subject)
    link.refuse(number, this.unknown())
  }

  /** Says again how a stream ended, to its last attempt: whoever made an earlier one has left the place that it took. */
  #resumeOver({ link, number, head }: IncomingResume, over: ClosedStream): void {
    if (head.attempt <= over.resume.attempt) return link.refuse(number, stale())
    if (over.error !== undefined) return link.refuse(number, errorFromWire(over.error))
    const { received, limit, end } = over.resume
    link.send(encodeJson(FrameType.RESUMED, number, { received, limit, end }))
  }

  /** UNKNOWN_STREAM, with how long this acceptor has been remembering. */
  unknown(): TunnelError {
    return new TunnelError('UNKNOWN_STREAM', 'the stream is not known here', {
      hop: this.#options.hop,
      rememberedMs: Math.floor(this.#over.rememberedMs),
    })
  }

  /** Ends every stream with `error`; every later OPEN is refused with it. */
  close(error: TunnelError): void {
    this.#closed ??= error
    for (const { stream } of [...this.#streams.values()]) stream.reset(error)
    this.#over.clear()
  }

  #onOver(stream: TunnelStream, subject: string | undefined, error: TunnelError | undefined): void {
    this.#streams.delete(stream.id)
    if (this.#closed !== undefined) return
    this.#over.add({
      subject,
      error: error?.toWire(),
      resume: stream.resumeHead(),
      link: undefined,
    })
  }
}

type Address = Pick<ResumeHead, 'kind' | 'machine' | 'target' | 'asked'>

/** What a resume was authorised for must be what the stream is. */
function isSame(stream: Address, resume: Address): boolean {
  const asked = (address: Address): string => address.asked ?? address.target ?? ''
  return stream.kind === resume.kind && stream.machine === resume.machine && asked(stream) === asked(resume)
}

function stale(): TunnelError {
  return new TunnelError('TAKEN_OVER', 'a later attempt has this stream', { hop: 'link' })
}
