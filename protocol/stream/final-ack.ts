import type { WireError } from '../codec/errors.ts'
import { encodeJson, encodeText, FrameType } from '../codec/frames.ts'
import { headText, type ResumeHead } from '../codec/heads.ts'
import type { Link } from '../link/link.ts'
import { Seat } from '../link/seat.ts'

/**
 * A stream that is over at its opener, brought back on a new link only to say how it ended: with its final offsets,
 * which acknowledge everything, or with its error.
 */
export class FinalAck extends Seat {
  readonly priority = 'low'

  readonly #said: (() => void) | undefined

  /** @param said called when it has been answered; one that ends with an error is not */
  constructor(link: Link, resume: ResumeHead, error: WireError | undefined, said?: () => void) {
    super(link)
    this.#said = said
    this.send(encodeText(FrameType.RESUME, this.number, headText(resume)))
    if (error === undefined) return
    this.send(encodeJson(FrameType.RESET, this.number, error))
    this.release()
  }

  /** RESUMED, or a RESET for what is long forgotten: either way it has been said. */
  protected receive(): void {
    this.release()
    this.#said?.()
  }

  protected next(): undefined {}
  protected failed(): void {}
  protected closed(): void {}
}
