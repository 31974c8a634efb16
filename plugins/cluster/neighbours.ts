import { backoffMs } from '../../dial/backoff.ts'
import { Pause } from '../../dial/pause.ts'
import { systemClock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { Transport } from '../../protocol/link/transport.ts'
import type { Mesh } from './mesh.ts'

/** Where another replica may be. */
export interface Place {
  /** `http(s)://host:port` */
  readonly url: string
  /** Which of its host's addresses is meant. */
  readonly address?: string
  /** Who is there, where that is known. */
  readonly id?: string
}

export interface NeighboursOptions {
  readonly mesh: Mesh
  readonly selfId: string
  /** All that are known now. */
  find(): Promise<readonly Place[]>
  dial(place: Place, signal: AbortSignal): Promise<Transport>
  /** Why nobody is reached there; told once for each reason. */
  failed(place: Place, error: TunnelError): void
}

/** How often it is looked who is there, in ms. */
const FIND_MS = 2_000
/** How often a place whose replica has its link already is looked at, in ms. */
const LOOK_MS = 1_000
/** Both are in one network, and whoever comes back is waited for. */
const BACKOFF = { baseMs: 100, multiplier: 2, jitter: 0.3, maxMs: 2_000, maxAttempts: 1 }
/** What a person has to mend may take its time. */
const REFUSED_BACKOFF = { ...BACKOFF, baseMs: 2_000, maxMs: 30_000 }

/** The other replicas, dialled where it is for this one to do that, for as long as they are known. */
export class Neighbours {
  readonly #options: NeighboursOptions
  readonly #dialled = new Map<string, Neighbour>()
  /** As they were found last. */
  #found: readonly Place[] = []
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: NeighboursOptions) {
    this.#options = options
  }

  /** Looks now, and again and again. */
  async follow(): Promise<void> {
    await this.look()
    if (!this.#closed) this.#timer = setTimeout(() => void this.follow(), FIND_MS).unref()
  }

  async look(): Promise<void> {
    if (this.#closed) return
    // What cannot be asked is asked again; those who are known stay.
    const places = await this.#options.find().catch(() => undefined)
    if (places !== undefined && !this.#closed) this.#know(places)
  }

  /** Whether somebody is to be there of whom this replica knows nothing. */
  isMissing(knows: (id: string) => boolean): boolean {
    const { selfId } = this.#options
    return (
      this.#found.some(({ id }) => id !== undefined && id !== selfId && !knows(id)) ||
      [...this.#dialled.values()].some((neighbour) => neighbour.isMissing(knows))
    )
  }

  #know(places: readonly Place[]): void {
    this.#found = places
    const keys = new Map(places.map((place) => [`${place.url} ${place.address ?? ''}`, place]))
    for (const [key, place] of keys) {
      const { id } = place
      // Of two that know of each other the one with the smaller id dials.
      if (id !== undefined && id <= this.#options.selfId) continue
      if (!this.#dialled.has(key)) this.#dialled.set(key, new Neighbour(place, this.#options))
    }
    for (const [key, neighbour] of this.#dialled) {
      if (keys.has(key) || neighbour.isLinked) continue
      neighbour.close()
      this.#dialled.delete(key)
    }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const neighbour of this.#dialled.values()) neighbour.close()
    this.#dialled.clear()
  }
}

/** One place, dialled until it is not wanted any more. */
class Neighbour {
  readonly #place: Place
  readonly #options: NeighboursOptions
  readonly #abort = new AbortController()
  #pause: Pause | undefined
  /** Who has answered there. */
  #id: string | undefined
  #isSelf = false
  #failures = 0
  #toldCode: string | undefined
  isLinked = false

  constructor(place: Place, options: NeighboursOptions) {
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
    const { mesh } = this.#options
    while (!this.#abort.signal.aborted && !this.#isSelf) {
      if (this.#id !== undefined && mesh.has(this.#id)) await this.#sleep(LOOK_MS)
      else {
        const error = await this.#once()
        await this.#sleep(this.#delayMs(error))
      }
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#abort.signal.aborted) return
    this.#pause = new Pause(systemClock, ms)
    await this.#pause.over
  }

  #delayMs(error: TunnelError): number {
    const isRefused = error.category === 'authentication' || error.category === 'configuration'
    return backoffMs(
      ++this.#failures,
      isRefused || error.code === 'VERSION_UNSUPPORTED' ? REFUSED_BACKOFF : BACKOFF,
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
