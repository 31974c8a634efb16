import { configInvalid } from '../queue/errors.ts'

/** Lets go of the lock. */
export type Release = () => void

/** The Web Lock of a queue: one tab has it at a time, and loses it with its end, however it ends. */
export class QueueLock {
  readonly #name: string

  constructor(queue: string) {
    this.#name = `ssh-websocket-tunnel ${queue}`
  }

  /** Undefined where another tab has it. */
  tryToTake(): Promise<Release | undefined> {
    return this.#request({ ifAvailable: true })
  }

  /** Waits until it is free. Rejects when the signal says so. */
  async take(signal: AbortSignal): Promise<Release> {
    return (await this.#request({ signal })) as Release
  }

  #request(options: LockOptions): Promise<Release | undefined> {
    // In a frame without an origin there are none.
    if (navigator.locks === undefined)
      return Promise.reject(configInvalid('queue.dir: this page has no Web Locks'))
    return new Promise((resolve, reject) => {
      const held = (lock: Lock | null): Promise<void> | undefined => {
        if (lock !== null) return new Promise((release) => resolve(release))
        resolve(undefined)
        return undefined
      }
      navigator.locks.request(this.#name, options, held).catch(reject)
    })
  }
}
