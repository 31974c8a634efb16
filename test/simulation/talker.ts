import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import { seededBytes } from '../support/random.ts'
import type { World } from './world.ts'

/** More than a direction has. */
const MAX_BYTES = 1_048_576
/** What every direction takes its bytes from, each from a place of its own. */
const NOISE = seededBytes('simulation', 2 * MAX_BYTES)

/** The bytes of one direction, by position, so that neither side has to keep them. */
function bytesAt(seed: number, position: number, length: number): Uint8Array {
  if (position + length > MAX_BYTES) throw new Error('a direction has no more bytes')
  const begin = (Math.imul(seed, 2_246_822_519) >>> 12) + position
  return NOISE.subarray(begin, begin + length)
}

/** One direction of a stream: the seed of its bytes, and how many there are. */
export interface Direction {
  seed: number
  byteCount: number
}

/** What goes over one stream: `up` is towards the machine. */
export interface Plan {
  index: number
  kind: 'ssh' | 'tcp'
  up: Direction
  down: Direction
  /** Whoever opened it gives it up at some time. */
  isGivenUp: boolean
}

/**
 * What stands for SSH between a proxy and a machine: the number of the plan, before everything else. An inspected
 * stream comes to the machine as one of the proxy's own, and says in this way which it is.
 */
export const PREFACE_BYTES = 4

/** Writes a direction's bytes as it may, reads the other's slowly, and sees that they are the right ones. */
export class Talker {
  readonly plan: Plan
  readonly side: 'client' | 'machine'
  readonly #world: World
  readonly #stream: TunnelStream
  readonly #name: string
  readonly #sends: Direction
  readonly #receives: Direction
  #written = 0
  #received = 0
  #unread = 0
  #blocked = false
  ended = false
  closed = false
  error: TunnelError | undefined

  constructor(world: World, stream: TunnelStream, plan: Plan, side: 'client' | 'machine') {
    this.plan = plan
    this.side = side
    this.#world = world
    this.#stream = stream
    this.#name = `${side} ${plan.kind} ${plan.index}`
    const isClient = side === 'client'
    this.#sends = isClient ? plan.up : plan.down
    this.#receives = isClient ? plan.down : plan.up
    stream.handle({
      data: (bytes) => this.data(bytes),
      ended: () => this.#end(),
      drained: () => {
        this.#blocked = false
        this.#writeOn()
      },
      closed: (error) => this.#close(error),
    })
  }

  /** Bytes that came; those that came before there was a talker are given to it. */
  data(bytes: Uint8Array): void {
    const { seed, byteCount } = this.#receives
    const at = this.#received
    this.#received += bytes.length
    if (this.#received > byteCount) this.#violation('more bytes than were sent')
    else if (Buffer.compare(bytes, bytesAt(seed, at, bytes.length)) !== 0)
      this.#violation(`from byte ${at} on something else than was sent`)
    this.#read(bytes.length)
  }

  #end(): void {
    const { byteCount } = this.#receives
    if (this.#received !== byteCount) this.#violation(`END at ${this.#received} of ${byteCount}`)
    if (this.ended) this.#violation('a second END')
    this.ended = true
  }

  #close(error: TunnelError | undefined): void {
    if (this.closed) this.#violation('closed twice')
    this.closed = true
    this.error = error
    if (error === undefined && (!this.ended || this.#written !== this.#sends.byteCount)) {
      this.#violation('closed in order before both halves were over')
    }
  }

  #violation(text: string): void {
    this.#world.violation(`${this.#name}: ${text}`)
  }

  start(): void {
    this.#writeOn()
  }

  #writeOn(): void {
    if (this.closed || this.#blocked) return
    const { random, clock } = this.#world
    const { seed, byteCount } = this.#sends
    if (this.#written === byteCount) return this.#stream.end()
    const size = Math.min(byteCount - this.#written, 1 + Math.floor(random() ** 3 * 50_000))
    const chunk = new Uint8Array(bytesAt(seed, this.#written, size))
    this.#written += size
    this.#blocked = !this.#stream.write(chunk)
    if (this.#blocked) return
    const pauseMs = random() < 0.5 ? 0 : Math.floor(random() * 200)
    clock.setTimer(() => this.#writeOn(), pauseMs)
  }

  #read(byteCount: number): void {
    this.#unread += byteCount
    if (this.#unread > this.#world.settings.streams.maxWindowBytes) this.#violation('a window was exceeded')
    const take = (): void => {
      this.#unread -= byteCount
      this.#stream.consumed(byteCount)
    }
    const { random, clock } = this.#world
    if (random() < 0.6) take()
    else clock.setTimer(take, Math.floor(random() * 300))
  }
}
