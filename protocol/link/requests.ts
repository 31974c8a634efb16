import type { Clock } from '../clock.ts'
import { checkResumeHead, checkStreamHead, checkVouched } from '../codec/check-requests.ts'
import { asTunnelError, TunnelError } from '../codec/errors.ts'
import * as frames from '../codec/frames.ts'
import { FrameType } from '../codec/frames.ts'
import type { LinkTrust, Vouched } from '../codec/heads.ts'
import { TokenBucket } from '../token-bucket.ts'
import type { LinkChannels } from './channels.ts'
import type { LinkHandlers } from './handlers.ts'
import type { Link } from './link.ts'

/** Resumes a second that one link may ask for, beyond a burst of RESUME_BURST and so many for each stream it may have. */
const RESUMES_PER_SECOND = 50
const RESUME_BURST = 512
const RESUME_BURST_FACTOR = 3

/** What a peer asks for on a link: OPEN and RESUME, checked, and handed to whoever accepts streams here. */
export class StreamRequests {
  readonly #link: Link
  readonly #channels: LinkChannels
  readonly #handlers: LinkHandlers
  readonly #trust: LinkTrust
  readonly #maxStreams: number
  /** Undefined for a link over which those of many users come: each was limited on a link of its own. */
  readonly #resumes: TokenBucket | undefined

  constructor(link: Link, channels: LinkChannels, handlers: LinkHandlers, clock: Clock, trust: LinkTrust) {
    this.#link = link
    this.#channels = channels
    this.#handlers = handlers
    this.#trust = trust
    this.#maxStreams = link.hello.limits.maxStreams
    const burst = RESUME_BURST + RESUME_BURST_FACTOR * this.#maxStreams
    this.#resumes = trust === 'user' ? new TokenBucket(clock, RESUMES_PER_SECOND, burst) : undefined
  }

  /** @throws {TunnelError} for what ends the link; what one stream's head has wrong ends that stream alone. */
  receive(typeByte: number, number: number, frame: Uint8Array): void {
    if ((typeByte & frames.TYPE_MASK) === FrameType.OPEN) this.#receiveOpen(typeByte, number, frame)
    else this.#receiveResume(number, frame)
  }

  #receiveOpen(typeByte: number, number: number, frame: Uint8Array): void {
    const link = this.#link
    const { head: json, headBytes, first } = frames.decodeHead(frame)
    if (this.#isFull) return link.refuse(number, tooManyStreams(this.#maxStreams))
    if (first.length > frames.MAX_DATA_BYTES) {
      const most = `${frames.MAX_DATA_BYTES} first bytes at most fit on an OPEN`
      return link.refuse(number, new TunnelError('FRAME_TOO_LARGE', most, { hop: 'link' }))
    }
    const ends = (typeByte & frames.END_FLAG) !== 0
    const { open } = this.#handlers
    this.#offer(
      number,
      open &&
        (() =>
          open({ link, number, head: this.#routed(checkStreamHead(json), json), headBytes, first, ends })),
    )
  }

  #receiveResume(number: number, frame: Uint8Array): void {
    const link = this.#link
    if (this.#resumes?.take() === false) {
      throw new TunnelError('RATE_LIMITED', 'too many resumes on one link', {
        hop: 'link',
        retryAfterMs: 1_000,
      })
    }
    const json = frames.decodeJson(frame)
    const headBytes = frame.length - frames.HEADER_BYTES
    if (this.#isFull) return link.refuse(number, tooManyStreams(this.#maxStreams))
    const { resume } = this.#handlers
    this.#offer(
      number,
      resume && (() => resume({ link, number, head: this.#routed(checkResumeHead(json), json), headBytes })),
    )
  }

  /** What a peer asked for, with what it vouches for where its word counts: the one place that believes it. */
  #routed<Asked extends object>(asked: Asked, json: Record<string, unknown>): Asked & Vouched {
    return this.#trust === 'replica' ? Object.assign(asked, checkVouched(json)) : asked
  }

  get #isFull(): boolean {
    return this.#channels.peerStreams >= this.#maxStreams
  }

  #offer(number: number, handle: (() => void) | undefined): void {
    try {
      if (handle === undefined)
        throw new TunnelError('FORBIDDEN', 'no streams are accepted on this link', { hop: 'link' })
      handle()
    } catch (thrown) {
      const error = asTunnelError(thrown, 'link')
      this.#link.refuse(number, error)
      if (error.code === 'FRAME_INVALID' || error.code === 'FRAME_TOO_LARGE') this.#link.fault()
    }
  }
}

/** Its opener counts as well, and may know of an end that is still on its way here. */
const RETRY_AFTER_MS = 200

function tooManyStreams(maxStreams: number): TunnelError {
  return new TunnelError('TOO_MANY_STREAMS', `a link carries at most ${maxStreams} streams`, {
    hop: 'link',
    retryAfterMs: RETRY_AFTER_MS,
  })
}
