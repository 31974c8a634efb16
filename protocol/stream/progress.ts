import { TunnelError } from '../codec/errors.ts'

/** With frames sent, no acknowledgement for this long, and a link that lives, the peer is broken. */
const NO_PROGRESS_MS = 120_000

/** Whether a peer acknowledges what is sent to it: a full window, acknowledged, is only slow. */
export class Progress {
  #sinceMs = 0

  made(nowMs: number): void {
    this.#sinceMs = nowMs
  }

  /**
   * With frames that are not acknowledged. `readToMs`: all that was sent before then has been read at the other end of
   * the link, so what waits on the way is not meant. Returns whether that is not known for long enough.
   * @throws {TunnelError} TIMEOUT
   */
  check(nowMs: number, readToMs: number): boolean {
    if (nowMs - this.#sinceMs < NO_PROGRESS_MS) return false
    if (readToMs - this.#sinceMs < NO_PROGRESS_MS) return true
    throw new TunnelError('TIMEOUT', `the peer acknowledged nothing for ${NO_PROGRESS_MS / 1_000} s`, {
      hop: 'link',
    })
  }
}
