import { errorFromClose, TunnelError } from '../codec/errors.ts'
import type { Transport } from './transport.ts'

/** RFC 6455, section 7.4.1: the purpose of the connection is fulfilled. */
const NORMAL_CLOSE = 1000

export interface EndingLink {
  readonly transport: Transport
  /** This side ends the link: sends nothing more. */
  silence(): void
  /** Once: the link is over. */
  over(error: TunnelError): void
}

/** How a link ends, once: by this side, which tells the peer why, by the peer, or with the connection beneath. */
export class LinkEnding {
  /** Resolves when the connection beneath has ended. */
  readonly gone: Promise<void>
  readonly #link: EndingLink
  #onGone: () => void = () => {}
  #closing: TunnelError | undefined
  #closedWith: TunnelError | undefined
  #leftByPeer = false

  constructor(link: EndingLink) {
    this.#link = link
    this.gone = new Promise((resolve) => {
      this.#onGone = resolve
    })
  }

  get closedWith(): TunnelError | undefined {
    return this.#closedWith
  }
  /** Nothing that comes from now on counts. */
  get hasBegun(): boolean {
    return this.#closing !== undefined || this.#closedWith !== undefined
  }
  /** The peer has closed it, and normally. */
  get leftByPeer(): boolean {
    return this.#leftByPeer
  }

  /** The peer is told `error`. */
  fail(error: TunnelError): void {
    this.#end(error, error.closeCode, `${error.code}: ${error.publicMessage}`)
  }

  /** In order. */
  leave(): void {
    const left = new TunnelError('ABORTED', 'the link was closed on this side', { hop: 'link' })
    this.#end(left, NORMAL_CLOSE, '')
  }

  /** Nobody is there who could close the other half of the connection. */
  lost(silentMs: number): void {
    const text = `nothing was heard for ${Math.round(silentMs)} ms`
    this.fail(new TunnelError('TIMEOUT', text, { hop: 'link' }))
    this.#link.transport.terminate()
  }

  transportClosed(code: number, reason: string): void {
    this.#leftByPeer = code === NORMAL_CLOSE && this.#closing === undefined
    this.#finish(this.#closing ?? errorFromClose(code, reason))
    this.#onGone()
  }

  #end(error: TunnelError, code: number, reason: string): void {
    if (this.#closedWith !== undefined) return
    if (this.#closing === undefined) {
      this.#closing = error
      this.#link.silence()
      this.#link.transport.close(code, reason)
    }
    this.#finish(error)
  }

  #finish(error: TunnelError): void {
    if (this.#closedWith !== undefined) return
    this.#closedWith = error
    this.#link.over(error)
  }
}
