import { backoffMs } from '../../dial/backoff.ts'
import { Pause } from '../../dial/pause.ts'
import { type Clock, systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import type { Mesh } from './mesh.ts'
import type { Place } from './places.ts'

export interface NeighbourOptions {
  readonly mesh: Mesh
  readonly selfId: string
  /** @default the system's */
  readonly clock?: Clock
  /** In [0, 1). @default Math.random */
  readonly random?: () => number
  dial(place: Place, signal: AbortSignal): Promise<Transport>
  /** Why nobody is reached there; told once for each reason. */
  failed(place: Place, error: TunnelError): void
}

/** How often a place whose replica has its link already is looked at, in ms. */
const LOOK_MS = 1_000
/** How long a link is waited for where it is for the other one to dial, in ms. */
const COURTESY_MS = 500
/** Both are in one network, and whoever comes back is waited for. */
const BACKOFF = { baseMs: 100, multiplier: 2, jitter: 0.3, maxMs: 2_000, maxAttempts: 1 }
/** What a person has to mend may take its time. */
const REFUSED_BACKOFF = { ...BACKOFF, baseMs: 2_000, maxMs: 30_000 }

/** One place, dialled until it is not wanted any more. */
export class Neighbour {
  readonly #place: Place
  readonly #options: NeighbourOptions
  readonly #abort = new AbortController()
  #pause: Pause | undefined
  /** Who has answered there. */
  #id: string | undefined
  #isSelf = false
  #failures = 0
  #toldCode: string | undefined
  isLinked = false

  constructor(place: Place, options: NeighbourOptions) {
    this.#place = place
    this.#options = options
    this.#id = place.id
    void this.#run()
  }

  isMissing(knows: (id: string) => boolean): boolean {
    return !this.#isSelf && (this.#id === undefined || !knows(this.#id))
  }

  close(): void {
    this.#abort.abort()
    this.#pause?.end()
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted && !this.#isSelf) {
      if (this.#hasLink) {
        await this.#sleep(LOOK_MS)
        continue
      }
      if (this.#isTheirsToDial) await this.#sleep(COURTESY_MS)
      if (this.#hasLink || this.#abort.signal.aborted) continue
      const error = await this.#once()
      await this.#sleep(this.#delayMs(error))
    }
  }

  get #hasLink(): boolean {
    return this.#id !== undefined && this.#options.mesh.has(this.#id)
  }

  /**
   * Of two that know of each other the one with the smaller id dials. The other one does so too when no link comes: it
   * may be the only one that knows, as where Redis went away before the other had heard of it.
   */
  get #isTheirsToDial(): boolean {
    const { id } = this.#place
    return id !== undefined && id < this.#options.selfId
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#pause = new Pause(this.#options.clock ?? systemClock, ms)
    await this.#pause.over
  }

  #delayMs(error: TunnelError): number {
    const isRefused = error.category === 'authentication' || error.category === 'configuration'
    return backoffMs(
      ++this.#failures,
      isRefused || error.code === 'VERSION_UNSUPPORTED' ? REFUSED_BACKOFF : BACKOFF,
      this.#options.random,
    )
  }

  /** Dials; resolves when what came of it is over. */
  async #once(): Promise<TunnelError> {
    const { mesh, dial } = this.#options
    try {
      const transport = await dial(this.#place, this.#abort.signal)
      return await new Promise<TunnelError>((resolve) => {
        mesh.add(transport, 'dialler', (peer, error, wasHere) => {
          this.isLinked = false
          if (wasHere) this.#wasHere()
          else if (error.code !== 'ABORTED') this.#tell(error)
          if (peer.isProved) this.#id = peer.id
          this.#isSelf = peer.isSelf
          resolve(error)
        })
        this.isLinked = true
      })
    } catch (thrown) {
      const error = asTunnelError(thrown, 'proxy')
      this.#tell(error)
      return error
    }
  }

  #wasHere(): void {
    this.#failures = 0
    this.#toldCode = undefined
  }

  #tell(error: TunnelError): void {
    if (this.#toldCode === error.code || this.#abort.signal.aborted) return
    this.#toldCode = error.code
    this.#options.failed(this.#place, error)
  }
}
