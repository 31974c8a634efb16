import type { Link } from '../link/link.ts'
import type { StreamSeat } from './seat.ts'

/**
 * Where a stream stands. `opening`: its OPEN is to go out there, or has and is not answered. `resuming`: RESUME is out,
 * RESUMED not in, and nothing may be sent. `standing`: bytes may go, as far as the peer lets them.
 */
type Path =
  | { readonly at: 'none' }
  | { readonly at: 'opening'; readonly seat: StreamSeat; readonly sent: boolean }
  | { readonly at: 'resuming'; readonly seat: StreamSeat }
  | { readonly at: 'standing'; readonly seat: StreamSeat }

const NONE: Path = { at: 'none' }

/** The way of a stream to its peer, which comes and goes with links; one method for each transition. */
export class StreamPath {
  #path: Path = NONE

  get at(): Path['at'] {
    return this.#path.at
  }
  get seat(): StreamSeat | undefined {
    return this.#path.at === 'none' ? undefined : this.#path.seat
  }
  get link(): Link | undefined {
    return this.seat?.link
  }
  /** An OPEN is to go out here. */
  get wantsOpen(): boolean {
    return this.#path.at === 'opening' && !this.#path.sent
  }

  open(seat: StreamSeat): void {
    this.#move({ at: 'opening', seat, sent: false })
  }

  openSent(): void {
    if (this.#path.at === 'opening') this.#path = { at: 'opening', seat: this.#path.seat, sent: true }
  }

  resume(seat: StreamSeat): void {
    this.#move({ at: 'resuming', seat })
  }

  /** The acceptor's: there is nothing to wait for. */
  stand(seat: StreamSeat): void {
    this.#move({ at: 'standing', seat })
  }

  /** The peer has answered what went out here. */
  answered(): void {
    if (this.#path.at !== 'none') this.#path = { at: 'standing', seat: this.#path.seat }
  }

  lose(): void {
    this.#move(NONE)
  }

  #move(path: Path): void {
    this.seat?.release()
    this.#path = path
  }
}
