import type { TunnelService } from '../../client/index.ts'

/** One connection's path, while it is carried. */
export interface PathWatch {
  suspended(): void
  resumed(): void
  /** The connection is over. */
  over(): void
}

/**
 * Tells what becomes of the paths of many connections: when the first of them waits, and when all that waited go on.
 * Says nothing while all is well.
 */
export class Paths {
  readonly #tunnel: TunnelService
  readonly #say: (state: 'lost' | 'back', message: string) => void
  readonly #waiting = new Map<PathWatch, string>()
  #lostAtMs: number | undefined
  /** Those that waited at some time since then. */
  #waited = 0

  constructor(tunnel: TunnelService, say: (state: 'lost' | 'back', message: string) => void) {
    this.#tunnel = tunnel
    this.#say = say
    tunnel.on('reconnecting', ({ attempt, delayMs }) => {
      this.#lostAtMs ??= performance.now()
      if (attempt === 1) return say('lost', 'link lost, resuming… connections wait (Ctrl-C ends them)')
      const wait = delayMs >= 1_000 ? `next try in ${(delayMs / 1_000).toFixed(0)} s` : 'trying again'
      say('lost', `link lost, ${wait}`)
    })
    tunnel.on('reconnected', () => {
      if (this.#waiting.size === 0) this.#back()
    })
  }

  watch(machine: string): PathWatch {
    const path: PathWatch = {
      suspended: () => this.#suspended(path, machine),
      resumed: () => this.#goesOn(path),
      over: () => this.#goesOn(path),
    }
    return path
  }

  #suspended(path: PathWatch, machine: string): void {
    const isFirst = this.#lostAtMs === undefined
    this.#lostAtMs ??= performance.now()
    if (!this.#waiting.has(path)) this.#waited++
    this.#waiting.set(path, machine)
    if (!isFirst) return
    // With the link gone as well, that is told instead.
    setImmediate(() => {
      if (this.#waiting.size === 0 || this.#tunnel.state !== 'connected') return
      const machines = [...new Set(this.#waiting.values())].join(', ')
      this.#say('lost', `${machines} is off line, ${count(this.#waiting.size)} for it… (Ctrl-C ends them)`)
    }).unref()
  }

  #goesOn(path: PathWatch): void {
    if (this.#waiting.delete(path) && this.#waiting.size === 0 && this.#tunnel.state === 'connected')
      this.#back()
  }

  #back(): void {
    if (this.#lostAtMs === undefined) return
    const seconds = ((performance.now() - this.#lostAtMs) / 1_000).toFixed(1)
    const what = this.#waited === 0 ? 'the link is back' : 'connections go on'
    this.#say('back', `${what} after ${seconds} s`)
    this.#lostAtMs = undefined
    this.#waited = 0
  }
}

function count(waiting: number): string {
  return waiting === 1 ? '1 connection waits' : `${waiting} connections wait`
}
