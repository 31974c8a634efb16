import { systemClock } from '../protocol/clock.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

/** How long the server of a page has for a part, in ms. */
const PART_MS = 30_000

/**
 * Waits for a part of this library that is loaded when it is used for the first time, because pages pay for each byte.
 * @param part its `import()`
 * @throws {TunnelError} CONNECT_REFUSED where it does not come, TIMEOUT
 */
export function loaded<Part>(part: Promise<Part>): Promise<Part> {
  return new Promise((resolve, reject) => {
    const fail = (code: 'CONNECT_REFUSED' | 'TIMEOUT', cause?: unknown): void => {
      const text = 'a part of the library could not be loaded from where the page has it'
      reject(new TunnelError(code, text, { cause, hop: 'client' }))
    }
    const timer = systemClock.setTimer(() => fail('TIMEOUT'), PART_MS)
    part.then(resolve, (error) => fail('CONNECT_REFUSED', error)).finally(() => systemClock.clearTimer(timer))
  })
}
