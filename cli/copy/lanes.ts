import { setTimeout as delay } from 'node:timers/promises'
import type { SftpSession } from '../../client/index.ts'
import { asTunnelError, type ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'

/** Sessions at once. Each has a window of 2 MiB at sshd, and sshd takes ten on one connection. */
const MAX_LANES = 8
/** One more session is opened when each has as much under way, in bytes. */
const FULL_BYTES = 1_048_576
/** Between tries to open a session when all are lost, in ms: doubles up to the second. */
const RETRY_MS = 250
const MAX_RETRY_MS = 5_000

/** What may be otherwise a moment later, beside what a network and a busy server do. */
const PASSING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'UNKNOWN_STREAM',
  'RESUME_EXPIRED',
  'SSH_HANDSHAKE_FAILED',
  'CHANNEL_OPEN_FAILED',
])

interface Lane {
  session: SftpSession
  /** Of the requests that are under way. */
  loadBytes: number
}

export interface LanesOptions {
  open: () => Promise<SftpSession>
  /** How long a session may be tried to be had again, in ms, and how long one request may cost one session after the other. */
  patienceMs: number
  /** Nothing can be done any more. */
  isOver: () => boolean
}

/**
 * Several SFTP sessions to one machine, so that a long path is full. A request whose session is lost is made again on
 * another; when there is none, it waits for one that is opened anew.
 */
export class Lanes {
  readonly #options: LanesOptions
  readonly #lanes = new Set<Lane>()
  #opening: Promise<void> | undefined
  /** Further sessions that are being opened. */
  #widening = 0
  #isInterrupted = false
  readonly #over = new AbortController()
  /** There will be no further session beside those that there are. */
  #isLimited = false
  /** How often something was lost, and it went on. */
  resumes = 0

  constructor(options: LanesOptions) {
    this.#options = options
  }

  /** Whether something was lost that has not come back yet. */
  get isInterrupted(): boolean {
    return this.#isInterrupted
  }

  /** The first session. @throws {TunnelError} */
  async begin(): Promise<void> {
    this.#add(await this.#options.open())
  }

  /** So much is going to be moved: the sessions for it are opened at once. */
  expect(bytes: number): void {
    this.#widen(Math.floor(bytes / FULL_BYTES))
  }

  /** The link was lost: the sessions wait for another. */
  interrupted(): void {
    this.#isInterrupted = true
  }

  /**
   * @param bytes how much it moves, by which the sessions share the work
   * @param request is made again where its session is lost: `isAgain` says that it may have been carried out already
   */
  async run<T>(bytes: number, request: (session: SftpSession, isAgain: boolean) => Promise<T>): Promise<T> {
    let untilMs = Number.POSITIVE_INFINITY
    for (let losses = 0; ; ) {
      // Once it was most likely the link; a server that falls over a request would do so without end.
      if (losses > 1) await this.#pause(Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (losses - 2)))
      const lane = this.#pick() ?? (await this.#wait())
      lane.loadBytes += bytes
      try {
        const result = await request(lane.session, losses > 0)
        this.#progressed()
        return result
      } catch (error) {
        if (lane.session.lost === undefined) throw error
        this.#lost(lane)
        if (losses++ === 0) untilMs = performance.now() + this.#options.patienceMs
        else if (performance.now() > untilMs) throw lane.session.lost
        if (!this.#mayGoOn(lane.session.lost)) throw lane.session.lost
      } finally {
        lane.loadBytes -= bytes
      }
    }
  }

  close(): void {
    this.#over.abort()
    for (const { session } of this.#lanes) session.close()
    this.#lanes.clear()
  }

  get #isClosed(): boolean {
    return this.#over.signal.aborted
  }

  #pick(): Lane | undefined {
    let best: Lane | undefined
    for (const lane of this.#lanes) {
      if (lane.session.lost !== undefined) this.#lost(lane)
      else if (best === undefined || lane.loadBytes < best.loadBytes) best = lane
    }
    if (best !== undefined && best.loadBytes >= FULL_BYTES) this.#widen(this.#lanes.size)
    return best
  }

  /** So many sessions more, in the background; the others do without those that cannot be had. */
  #widen(more: number): void {
    if (this.#isLimited || this.#widening > 0) return
    this.#widening = Math.min(more, MAX_LANES - this.#lanes.size)
    for (let count = this.#widening; count > 0; count--) void this.#openMore()
  }

  async #openMore(): Promise<void> {
    try {
      this.#add(await this.#options.open())
    } catch {
      // Whatever it is, one that is needed is asked for again when all are lost, and then it is told.
      this.#isLimited = true
    } finally {
      this.#widening--
    }
  }

  async #wait(): Promise<Lane> {
    for (;;) {
      if (this.#isClosed) throw ended()
      const lane = this.#pick()
      if (lane !== undefined) return lane
      this.#opening ??= this.#reopen().finally(() => {
        this.#opening = undefined
      })
      await this.#opening
    }
  }

  async #reopen(): Promise<void> {
    const untilMs = performance.now() + this.#options.patienceMs
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
      try {
        this.#add(await this.#options.open())
        return
      } catch (thrown) {
        const error = asTunnelError(thrown, 'client')
        const nextMs = Math.max(waitMs, error.retryAfterMs ?? 0)
        if (!this.#mayGoOn(error) || performance.now() + nextMs > untilMs) throw error
        await this.#pause(nextMs)
      }
    }
  }

  /** @throws {TunnelError} ABORTED when the copy is ended */
  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#over.signal }).catch(() => {
      throw ended()
    })
  }

  #mayGoOn(error: TunnelError): boolean {
    if (this.#isClosed || this.#options.isOver() || error.code === 'ABORTED') return false
    return error.category === 'network' || error.category === 'server' || PASSING.has(error.code)
  }

  #add(session: SftpSession): void {
    if (this.#isClosed) return session.close()
    this.#lanes.add({ session, loadBytes: 0 })
  }

  #lost(lane: Lane): void {
    if (!this.#lanes.delete(lane) || this.#isClosed) return
    this.#isInterrupted = true
    this.#isLimited = false
  }

  #progressed(): void {
    if (!this.#isInterrupted) return
    this.#isInterrupted = false
    this.resumes++
  }
}

function ended(): TunnelError {
  return new TunnelError('ABORTED', 'the copy was ended', { hop: 'client' })
}
