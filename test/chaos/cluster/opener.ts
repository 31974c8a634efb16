import { once } from 'node:events'
import { TunnelService } from '../../../client/index.ts'
import { drop } from '../../support/proxy.ts'
import { MACHINE } from '../../support/topology.ts'

export interface OpenerOptions {
  url: string
  token: string
  /** An address that echoes, which the agent may dial. */
  echo: string
  everyMs: number
}

/** At once, at most: what waits for an answer is what is measured. */
const MAX_AT_ONCE = 50

/** A new client that opens a new stream, again and again: how long until the first byte has come back. */
export class Opener {
  readonly #options: OpenerOptions
  readonly #timer: NodeJS.Timeout
  readonly #open = new Set<Promise<void>>()
  #timesMs: number[] = []
  #faults: string[] = []

  constructor(options: OpenerOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      if (this.#open.size >= MAX_AT_ONCE) return
      const one = this.#once().finally(() => this.#open.delete(one))
      this.#open.add(one)
    }, options.everyMs)
  }

  async #once(): Promise<void> {
    const { url, token, echo } = this.#options
    const beganMs = performance.now()
    const tunnel = new TunnelService({ url, token })
    try {
      await tunnel.connect()
      const stream = await tunnel.open({ machine: MACHINE, kind: 'ssh', target: echo })
      stream.write('?')
      await once(stream, 'data')
      this.#timesMs.push(performance.now() - beganMs)
      drop(stream)
    } catch (error) {
      const { code, message } = error as { code?: string; message: string }
      this.#faults.push(`open: ${code ?? ''} ${message} after ${Math.round(performance.now() - beganMs)} ms`)
    } finally {
      await tunnel.disconnect(0)
    }
  }

  /** Since the last time: how long each took, in ms, and what failed the others. */
  take(): { timesMs: number[]; faults: string[] } {
    const taken = { timesMs: this.#timesMs, faults: this.#faults }
    this.#timesMs = []
    this.#faults = []
    return taken
  }

  async end(): Promise<void> {
    clearInterval(this.#timer)
    await Promise.all(this.#open)
  }
}
