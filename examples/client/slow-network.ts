/**
 * A transport of one's own, and a clock: what a test of an application puts between itself and the proxy. Every frame that
 * comes is held up, as a slow network does; the clock says how long its timers were set for.
 */
import { type Clock, type Dial, type Platform, platform, type Transport } from '../../client/index.ts'

/** @param delayMs for each frame that comes; they stay in order */
export function slowNetwork(delayMs: number): Pick<Platform, 'dial' | 'clock'> & { timersMs: number[] } {
  const timersMs: number[] = []
  const clock: Clock = {
    now: () => platform.clock.now(),
    setTimer(callback, ms) {
      timersMs.push(ms)
      return platform.clock.setTimer(callback, ms)
    },
    clearTimer: (timer) => platform.clock.clearTimer(timer),
  }
  const dial: Dial = async (url, options) => delayed(await platform.dial(url, options), clock, delayMs)
  return { dial, clock, timersMs }
}

function delayed(transport: Transport, clock: Clock, delayMs: number): Transport {
  let last = Promise.resolve()
  const inOrder = (work: () => void): void => {
    const wait = new Promise<void>((resolve) => clock.setTimer(resolve, delayMs))
    last = Promise.all([last, wait]).then(work)
  }
  return {
    get receiver() {
      return transport.receiver
    },
    set receiver(receiver) {
      transport.receiver = receiver && {
        message: (frame) => inOrder(() => receiver.message(frame)),
        text: () => inOrder(() => receiver.text()),
        drained: () => receiver.drained(),
        // What was on its way is lost with the connection.
        closed: (code, reason) => receiver.closed(code, reason),
      }
    },
    get bufferedBytes() {
      return transport.bufferedBytes
    },
    send: (frame, compressible) => transport.send(frame, compressible),
    close: (code, reason) => transport.close(code, reason),
    terminate: () => transport.terminate(),
    pause: () => transport.pause(),
    resume: () => transport.resume(),
  }
}
