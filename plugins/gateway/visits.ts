import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { AdmittedGuest, Guest } from '../forward/index.ts'
import { callerGone, tokenOver } from './errors.ts'

/** How often it is looked whether a token is over, in ms: the wall clock, by which tokens expire, may be set. */
const LOOK_MS = 60_000

/** A stream whose opener is a caller of a route. */
export interface Visit extends ByteStream {
  /** Nobody who drains need wait for it: it may last for ever, and its ends know how to come back. */
  readonly isLasting: boolean
  /** Resolves when the caller is being answered by it; rejects with what is to be answered in its place. */
  readonly begun: Promise<void>
}

/** The streams of callers who have no link, each from its admission to its end. */
export class Visits {
  readonly #app: Pick<FastifyInstance, 'forward' | 'letIn' | 'limitByUser'>
  readonly #active = new Set<Visit>()
  #onLeft: (() => void) | undefined

  constructor(app: FastifyInstance) {
    this.#app = app
  }

  /**
   * Opens what `request` asks for, and resolves when the stream that `make` makes is answering it.
   * @throws {TunnelError} what refuses it, or ended it before
   */
  async open(
    request: FastifyRequest,
    reply: FastifyReply,
    asked: Guest['asked'],
    costBytes: number,
    make: (head: RoutedHead, over: (error: TunnelError | undefined) => void) => Visit,
  ): Promise<void> {
    const { user, log, raw, id: correlationId } = request
    let stopped: TunnelError | undefined
    let visit: Visit | undefined
    const stop = (error: TunnelError): void => {
      stopped ??= error
      visit?.reset(error)
    }
    // The passage counts and records whatever becomes of it.
    request.isErrorTold = true
    const from = { user, connectionId: randomUUID(), correlationId, log }
    const guest = await this.#admit({ from, asked, costBytes, stop }, request, reply)
    const early = stopped ?? (raw.socket.destroyed ? callerGone() : undefined)
    if (early !== undefined) {
      guest.over(early)
      throw early
    }
    this.#app.letIn(raw.socket, reply.raw)
    // It ends with its token, as a link does.
    let expiry: NodeJS.Timeout | undefined
    const checkExpiry = (): void => {
      const leftMs = user.expiresAtMs - Date.now()
      if (leftMs <= 0) return stop(tokenOver())
      expiry = setTimeout(checkExpiry, Math.min(leftMs, LOOK_MS)).unref()
    }
    const opened = make(guest.head, (error) => {
      clearTimeout(expiry)
      this.#active.delete(opened)
      guest.over(error)
      this.#onLeft?.()
    })
    visit = opened
    this.#active.add(opened)
    guest.carry(opened)
    checkExpiry()
    await opened.begun
  }

  async #admit(guest: Guest, request: FastifyRequest, reply: FastifyReply): Promise<AdmittedGuest> {
    try {
      return await this.#app.forward.admit(guest)
    } catch (error) {
      // The bucket is empty: this says so in the headers that every route has.
      if (asTunnelError(error, 'proxy').code === 'RATE_LIMITED') await this.#app.limitByUser(request, reply)
      throw error
    }
  }

  /** Waits for what has an end of its own, until the time is `over`. */
  async leave(over: AbortSignal): Promise<void> {
    const isLeft = (): boolean => over.aborted || [...this.#active].every(({ isLasting }) => isLasting)
    await new Promise<void>((resolve) => {
      this.#onLeft = () => {
        if (isLeft()) resolve()
      }
      over.addEventListener('abort', () => resolve(), { once: true })
      this.#onLeft()
    })
    this.#onLeft = undefined
  }
}
