import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { Link } from '../../protocol/link/link.ts'
import type { StandingLink } from './reports.ts'

export interface Leave {
  /** What the peers are told. */
  readonly error: TunnelError
  /** How long this proxy is still there, in ms. */
  readonly deadlineMs: number
  /** Not all peers are to dial another one at the same moment. */
  readonly spreadMs: number
}

/** Asks the peers of a proxy that leaves to go elsewhere, one after the other. */
export class Farewells {
  readonly #waiting = new Map<Link, { timer: NodeJS.Timeout; say(): void }>()

  /** Agents first: when a client comes to another replica, its machine is there too. */
  begin(links: Iterable<[Link, Pick<StandingLink, 'role'>]>, { error, deadlineMs, spreadMs }: Leave): void {
    const untilMs = performance.now() + deadlineMs
    for (const [link, { role }] of links) {
      const say = (): void => {
        this.closed(link)
        const leftMs = Math.max(0, Math.round(untilMs - performance.now()))
        if (!link.closed) link.goaway({ ...error.toWire(), deadlineMs: leftMs })
      }
      if (spreadMs === 0) say()
      else {
        const afterMs = (spreadMs * (Math.random() + (role === 'agent' ? 0 : 1))) / 2
        this.#waiting.set(link, { say, timer: setTimeout(say, afterMs).unref() })
      }
    }
  }

  /**
   * Something new is asked for on the link: its peer does not wait for its turn to hear that this is the wrong proxy for
   * what it asks next.
   */
  hurry(link: Link): void {
    this.#waiting.get(link)?.say()
  }

  /** Nobody is there any more to be told. */
  closed(link: Link): void {
    clearTimeout(this.#waiting.get(link)?.timer)
    this.#waiting.delete(link)
  }
}
