import type { ChannelLease } from '../pool/index.ts'
import { requestGone } from './errors.ts'
import type { ServeContext } from './serve.ts'

/**
 * TCP connections that share a place of the pool. What limits places is how many sessions an sshd takes on a connection
 * (its MaxSessions), and a forwarded connection is none; a browser or a pool of database connections wants many at once.
 */
const MAX_SHARES = 32

type Opening = Pick<ServeContext, 'userId' | 'owner' | 'machine' | 'acquire' | 'open'>
type Open<Channel> = (connection: ChannelLease['connection']) => Promise<Channel>

/** The places that TCP connections share, of all users. One is there while something uses it. */
export class TcpPlaces {
  readonly #places = new Map<string, Set<SharedPlace>>()

  /** As `ServeContext.open`, at a place with others. */
  async open<Channel>(
    context: Opening,
    signal: AbortSignal,
    open: Open<Channel>,
  ): Promise<{ lease: ChannelLease; channel: Channel }> {
    for (;;) {
      const place = this.#placeOf(context)
      const share = place.share()
      try {
        const { connection } = await place.lease(signal)
        try {
          return { lease: { connection, ...share }, channel: await open(connection) }
        } catch (error) {
          if (!connection.isFull(error)) throw error
          place.isFull = true
        }
      } catch (error) {
        share.release()
        throw error
      }
      share.release()
      // The server takes not even one more: the pool knows how to wait for it.
      if (place.isEmpty) return context.open(signal, open)
    }
  }

  #placeOf(context: Opening): SharedPlace {
    const { userId, owner, machine } = context
    const key = JSON.stringify([userId, owner, machine])
    const places = this.#places.get(key) ?? new Set()
    this.#places.set(key, places)
    for (const place of places) if (place.hasRoom) return place
    const acquire: ServeContext['acquire'] = (signal) => context.acquire(signal)
    const place: SharedPlace = new SharedPlace(acquire, () => {
      places.delete(place)
      if (places.size === 0 && this.#places.get(key) === places) this.#places.delete(key)
    })
    places.add(place)
    return place
  }
}

type Share = Omit<ChannelLease, 'connection'>

/** One place, from the first connection that asks for it to the end of the last that uses it. */
class SharedPlace {
  /** The server has refused a channel here. */
  isFull = false
  readonly #lease: Promise<ChannelLease>
  readonly #onEmpty: () => void
  readonly #abort = new AbortController()
  readonly #shares = new Set<object>()
  /** Of those that can be spared, what takes them back. */
  readonly #offers = new Map<object, () => void>()
  #taken: ChannelLease | undefined

  constructor(acquire: ServeContext['acquire'], onEmpty: () => void) {
    this.#onEmpty = onEmpty
    this.#lease = acquire(this.#abort.signal)
    this.#lease.then(
      (lease) => {
        this.#taken = lease
        if (this.isEmpty) lease.release()
      },
      () => {
        // Each that waits for it is told by itself; who comes now tries another.
        this.isFull = true
      },
    )
  }

  get isEmpty(): boolean {
    return this.#shares.size === 0
  }
  get hasRoom(): boolean {
    return !this.isFull && this.#shares.size < MAX_SHARES && this.#taken?.connection.closed !== true
  }

  /** Takes a share, before anything is awaited. */
  share(): Share {
    const share = {}
    this.#shares.add(share)
    this.#offerAll()
    return {
      release: () => {
        this.#offers.delete(share)
        if (!this.#shares.delete(share)) return
        if (this.isEmpty) this.#end()
        else this.#offerAll()
      },
      offer: (giveBack) => {
        this.#offers.set(share, giveBack)
        this.#offerAll()
      },
      keep: () => {
        this.#offers.delete(share)
        this.#offerAll()
      },
    }
  }

  /** The place, once the pool has given it. @throws why it has not, or ABORTED for whoever no longer waits */
  lease(signal: AbortSignal): Promise<ChannelLease> {
    return new Promise((resolve, reject) => {
      const gone = (): void => reject(requestGone())
      if (signal.aborted) return gone()
      signal.addEventListener('abort', gone, { once: true })
      this.#lease.then(resolve, reject).finally(() => signal.removeEventListener('abort', gone))
    })
  }

  /** The place can be spared when all that share it can. */
  #offerAll(): void {
    const isOffered = !this.isEmpty && this.#offers.size === this.#shares.size
    if (!isOffered) return this.#taken?.keep()
    this.#taken?.offer(() => {
      for (const giveBack of [...this.#offers.values()]) giveBack()
    }, 'suspended')
  }

  #end(): void {
    this.#onEmpty()
    this.#abort.abort()
    this.#taken?.release()
  }
}
