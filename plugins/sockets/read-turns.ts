import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Fifo } from '../../protocol/fifo.ts'
import { networkOf } from '../../protocol/node/network-of.ts'

/** Of what a connection has read, so much is parsed at once, in bytes: at most 340 pieces of a body. */
const MIN_SLICE_BYTES = 2_048
/** As many quick slices in a row, and the next are twice as large. */
const QUICK_SLICES = 16
const MAX_SLICE_BYTES = 65_536
/** A slice that takes longer for each byte is slow, in ms: large pieces take a tenth of that, pieces of one byte four times. */
const SLOW_MS_PER_BYTE = 0.00005
/** A slow slice counts two, a quick one takes one away, and from here on slices are costly. */
const COSTLY = 3
/** What is costly takes so long at once, in ms, and that part of a core, all connections together. */
const TURN_MS = 0.4
const SHARE = 0.05

/** What one connection has read and nobody has parsed. */
export interface Waiting {
  readonly network: string
  readonly hasRest: boolean
  goOn(): void
}

/**
 * Bounds what the reads of all connections cost before others are served. Node parses all of a read at once: 64 KiB can be
 * ten thousand pieces of a body, which take 15 ms, and every connection may bring as many. What is costly goes on when it is
 * its turn. Networks wait one after the other, so that many connections of one address do not hold up those of another.
 */
export class ReadTurns {
  /** Never more than there are connections. */
  readonly #waiting = new Map<string, Fifo<Waiting>>()
  #timer: NodeJS.Timeout | undefined
  /** What costly slices have taken and time has not paid back, in ms. */
  #debtMs = 0
  #sinceMs = 0

  /** From a connection's start; what it reads is no longer parsed past its stream. */
  follow(socket: Socket): void {
    // What listens is told by the stream, and so is the parser from then on.
    const listener = (): void => {}
    socket.on('data', listener).off('data', listener)
    reads.set(socket, new SlicedReads(socket, this))
  }

  /** @param ms what a costly slice has taken */
  spent(ms: number): void {
    this.#debtMs += ms
  }

  isOver(nowMs: number): boolean {
    this.#debtMs = Math.max(0, this.#debtMs - (nowMs - this.#sinceMs) * SHARE)
    this.#sinceMs = nowMs
    return this.#debtMs >= TURN_MS
  }

  wait(sliced: Waiting): void {
    const line = this.#waiting.get(sliced.network) ?? new Fifo()
    this.#waiting.set(sliced.network, line)
    line.push(sliced)
    this.#goOnLater()
  }

  /** Nobody has a turn any more. */
  close(): void {
    clearTimeout(this.#timer)
    this.#waiting.clear()
  }

  #goOnLater(): void {
    this.#timer ??= setTimeout(this.#next, this.#debtMs / SHARE).unref()
  }

  readonly #next = (): void => {
    this.#timer = undefined
    for (const [network, line] of this.#waiting) {
      this.#waiting.delete(network)
      let sliced = line.shift()
      while (sliced?.hasRest === false) sliced = line.shift()
      if (sliced === undefined) continue
      if (line.length > 0) this.#waiting.set(network, line)
      sliced.goOn()
      if (this.#waiting.size > 0) this.#goOnLater()
      return
    }
  }
}

const reads = new WeakMap<Socket, SlicedReads>()

/** A body of a declared length comes in as few pieces as it is read in. */
export function readAs(request: IncomingMessage, isUpgrade = false): void {
  const sliced = reads.get(request.socket)
  if (sliced === undefined) return
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  sliced.request = request
  sliced.isWhole = isUpgrade || (length !== undefined && coding === undefined)
}

/** What one connection reads. */
class SlicedReads implements Waiting {
  readonly network: string
  /** Slices would only be put together again. */
  isWhole = false
  /** The last one whose head was parsed. */
  request: IncomingMessage | undefined
  readonly #socket: Socket
  readonly #turns: ReadTurns
  readonly #push: Socket['push']
  readonly #read: Socket['_read']
  /** Read, and not parsed yet: one read, for nothing more is read meanwhile. */
  #rest: Buffer[] = []
  #sliceBytes = MIN_SLICE_BYTES
  #hasEnded = false
  #isWanted = false
  #isWaiting = false
  #unreadTimer: NodeJS.Timeout | undefined
  /** How many slices were slow of late: one alone may have met the collector. Of a new connection nothing is known. */
  #slow = 1
  #quickInRow = 0

  constructor(socket: Socket, turns: ReadTurns) {
    this.network = networkOf(socket.remoteAddress ?? '')
    this.#socket = socket
    this.#turns = turns
    this.#push = socket.push.bind(socket)
    this.#read = socket._read.bind(socket)
    socket.push = (chunk: Buffer | null, encoding?: BufferEncoding) => this.#came(chunk, encoding)
    socket._read = (size) => {
      if (this.#rest.length === 0) this.#read(size)
      else this.#isWanted = true
    }
    socket.on('resume', () => {
      if (this.#rest.length > 0 && !this.#isWaiting) this.#later()
    })
    // Nothing that comes behind that is answered.
    for (const event of ['finish', 'close']) socket.once(event, () => this.#dropRest())
  }

  get hasRest(): boolean {
    return this.#rest.length > 0
  }

  #dropRest(): void {
    const hadRest = this.hasRest
    this.#rest = []
    this.isWhole = true
    clearTimeout(this.#unreadTimer)
    if (!hadRest || this.#socket.destroyed) return
    // For its stream, a read is still under way.
    this.#isWanted = true
    this.#readOn()
  }

  #came(chunk: Buffer | null, encoding?: BufferEncoding): boolean {
    if (this.#rest.length > 0) {
      if (chunk === null) this.#hasEnded = true
      else this.#rest.push(chunk)
      return false
    }
    if (chunk === null || chunk.length <= MIN_SLICE_BYTES || this.isWhole) return this.#push(chunk, encoding)
    this.#rest.push(chunk)
    return this.#parse()
  }

  /** Behind whatever else is to be done in this turn. */
  #later(): void {
    this.#isWaiting = true
    setImmediate(() => this.goOn())
  }

  goOn(): void {
    this.#isWaiting = false
    this.#parse()
  }

  /** True where the socket may go on reading. */
  #parse(): boolean {
    let atMs = performance.now()
    let more = true
    while (this.#rest.length > 0) {
      // What is paused goes on with `resume`; what has changed hands is read by somebody else.
      if (this.#socket.isPaused() && !this.isWhole) return false
      if (this.#isCostly && !this.isWhole && isUnread(this.request)) {
        this.#isWaiting = true
        this.#unreadTimer = setTimeout(() => this.goOn(), TURN_MS / SHARE).unref()
        return false
      }
      if (this.#turns.isOver(atMs)) {
        this.#isWaiting = true
        this.#turns.wait(this)
        return false
      }
      const slice = this.#slice()
      more = this.#push(slice)
      const endMs = performance.now()
      this.#learn(slice.length, endMs - atMs)
      atMs = endMs
    }
    this.#readOn()
    return more
  }

  #readOn(): void {
    if (this.#hasEnded) return void this.#push(null)
    if (!this.#isWanted) return
    this.#isWanted = false
    this.#read(0)
  }

  #learn(bytes: number, ms: number): void {
    const isSlow = ms > bytes * SLOW_MS_PER_BYTE
    this.#slow = isSlow ? Math.min(this.#slow + 2, COSTLY) : Math.max(this.#slow - 1, 0)
    this.#quickInRow = isSlow ? 0 : this.#quickInRow + 1
    if (this.#isCostly) {
      this.#turns.spent(ms)
      this.#sliceBytes = MIN_SLICE_BYTES
    } else if (isSlow) this.#sliceBytes = Math.max(this.#sliceBytes / 4, MIN_SLICE_BYTES)
    else if (this.#quickInRow % QUICK_SLICES === 0)
      this.#sliceBytes = Math.min(2 * this.#sliceBytes, MAX_SLICE_BYTES)
  }

  get #isCostly(): boolean {
    return this.#slow >= COSTLY
  }

  #slice(): Buffer {
    const chunk = this.#rest[0] as Buffer
    if (this.isWhole || chunk.length <= this.#sliceBytes) return this.#rest.shift() as Buffer
    this.#rest[0] = chunk.subarray(this.#sliceBytes)
    return chunk.subarray(0, this.#sliceBytes)
  }
}

/** Whether what is parsed of its body would pile up: each piece of one byte takes hundreds in memory. */
function isUnread(request: IncomingMessage | undefined): boolean {
  if (request === undefined || request.complete || request.readableLength === 0) return false
  return request.readableFlowing !== true && request.listenerCount('readable') === 0
}
