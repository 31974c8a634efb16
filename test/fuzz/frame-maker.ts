import {
  BLOCKED_FLAG,
  copyFrame,
  END_FLAG,
  encodeFrame,
  encodeHead,
  encodeJson,
  encodeWindow,
  FrameType,
  HEADER_BYTES,
  isCounted,
  streamNumber,
  TYPE_MASK,
} from '../../protocol/codec/frames.ts'
import type { Random } from '../support/seeded-random.ts'

const MAX_CORPUS = 256
const MAX_NUMBERS = 64
const WILD_OFFSETS = [0, 1, 5, 2 ** 32 - 1, 2 ** 32, 2 ** 47, 2 ** 48 - 1]
const WILD_VALUES = [null, -1, 0.5, 2 ** 48, 1e300, '', 'x'.repeat(300), [], {}, true, '\ud800', '__proto__']
/** Of the frames of the wildest link: the share that is changed after it was made, is a replay, is pure noise. */
const MUTATED = 0.3
const REPLAYED = 0.1
const NOISE = 0.03

/** What an attacker knows of one link, and the frames, right and wrong, that it makes of that. */
export class FrameMaker {
  readonly #random: Random
  /** In [0, 1): a calm attacker lives longer and gets further. */
  readonly #wildness: number
  /** Ids that belong to others, or to earlier links. */
  readonly ids: string[]
  /** Frames of any link before, of either side. */
  readonly corpus: Uint8Array[]
  #next: number
  #numbers: number[] = []
  /** Streams that the other side has opened. */
  #theirs: number[] = []
  /** What has come of each stream, in counted bytes, and how far it has been let go. */
  readonly #received = new Map<number, number>()
  readonly #limits = new Map<number, number>()

  constructor(random: Random, dialler: boolean, ids: string[], corpus: Uint8Array[]) {
    this.#random = random
    this.#wildness = random.next() ** 3
    this.#next = dialler ? 1 : 2
    this.ids = ids
    this.corpus = corpus
  }

  /** What the other side has sent. */
  heard(frame: Uint8Array): void {
    if (frame.length < HEADER_BYTES) return
    this.#keep(frame)
    const type = frame[0]! & TYPE_MASK
    const number = streamNumber(frame)
    if (type === FrameType.OPEN || type === FrameType.RESUME) {
      this.#theirs.push(number)
      if (this.#theirs.length > MAX_NUMBERS) this.#theirs.shift()
    } else if (isCounted(type)) {
      this.#received.set(number, (this.#received.get(number) ?? 0) + frame.length)
    }
  }

  #keep(frame: Uint8Array): void {
    if (frame.length > 4_096) return
    if (this.corpus.length < MAX_CORPUS) this.corpus.push(copyFrame(frame))
    else if (this.#random.chance(0.05)) this.corpus[this.#random.below(MAX_CORPUS)] = copyFrame(frame)
  }

  next(): Uint8Array {
    const random = this.#random
    if (random.chance(NOISE * this.#wildness)) return random.bytes(random.below(40))
    if (random.chance(REPLAYED * this.#wildness) && this.corpus.length > 0) {
      const frame = copyFrame(random.pick(this.corpus))
      return random.chance(0.5) ? frame : this.#mutate(frame)
    }
    const frame = this.#valid()
    if (random.chance(0.1)) this.#keep(frame)
    return random.chance(MUTATED * this.#wildness) ? this.#mutate(frame) : frame
  }

  #newNumber(): number {
    const number = this.#next
    this.#next += 2
    this.#numbers.push(number)
    if (this.#numbers.length > MAX_NUMBERS) this.#numbers.shift()
    return number
  }

  #anyNumber(): number {
    const random = this.#random
    const known = random.chance(0.5) ? this.#numbers : this.#theirs
    const list = known.length > 0 ? known : this.#numbers.length > 0 ? this.#numbers : this.#theirs
    return list.length === 0 ? 0 : random.chance(0.5) ? list.at(-1)! : random.pick(list)
  }

  #valid(): Uint8Array {
    const random = this.#random
    const roll = random.below(100)
    const number = this.#anyNumber()
    if (number === 0 || roll < 18) return this.#open()
    if (roll < 40) return encodeFrame(this.#dataType(), number, random.bytes(this.#size()))
    if (roll < 58) return this.#window(number)
    if (roll < 66) return this.#accept(number)
    if (roll < 72) return encodeJson(FrameType.EVENT, number, this.#event())
    if (roll < 77) return encodeFrame(FrameType.END, number)
    if (roll < 82) return encodeJson(FrameType.RESET, number, { code: this.#code(), message: 'fuzz' })
    if (roll < 89) return encodeJson(FrameType.RESUME, this.#newNumber(), this.#resume())
    if (roll < 92) return encodeJson(FrameType.RESUMED, number, this.#offsets(number))
    if (roll < 94) return encodeFrame(FrameType.SUSPEND, number)
    if (roll < 96) return encodeFrame(FrameType.PING, 0, random.bytes(8))
    if (roll < 98) return encodeFrame(FrameType.PONG, 0, random.bytes(8))
    if (roll < 99)
      return encodeJson(FrameType.GOAWAY, 0, { code: 'SHUTTING_DOWN', message: '', deadlineMs: 5 })
    return encodeJson(FrameType.AUTH, 0, { token: 'fuzz' })
  }

  #size(): number {
    const { next } = { next: this.#random.next() }
    return next < 0.9 ? Math.floor(next * 300) : Math.floor((next - 0.9) * 600_000)
  }

  #dataType(): number {
    const random = this.#random
    if (random.chance(0.15)) return random.chance(0.5) ? FrameType.AUX : FrameType.AUX | BLOCKED_FLAG
    let type: number = FrameType.DATA
    if (random.chance(0.1)) type |= END_FLAG
    if (random.chance(0.2)) type |= BLOCKED_FLAG
    return type
  }

  #code(): string {
    return this.#random.pick(['ABORTED', 'UNKNOWN_STREAM', 'TAKEN_OVER', 'INVENTED', 'RESUME_EXPIRED'])
  }

  #id(): string {
    const random = this.#random
    if (random.chance(0.3) && this.ids.length > 0) return random.pick(this.ids)
    const id = Buffer.from(random.bytes(16)).toString('hex')
    if (this.ids.length < 512) this.ids.push(id)
    else this.ids[16 + random.below(496)] = id
    return id
  }

  #open(): Uint8Array {
    const random = this.#random
    const kind = random.pick(['ssh', 'ssh', 'tcp', 'http', 'exec'])
    const head: Record<string, unknown> = {
      id: this.#id(),
      kind,
      machine: random.pick(['home', 'home', 'elsewhere', 'x'.repeat(255)]),
      window: 262_144,
    }
    if (kind === 'http') head.http = { method: 'GET', path: '/', headers: [['a', 'b']] }
    if (kind === 'exec') head.exec = { command: 'true' }
    if (kind === 'tcp' || kind === 'http') head.target = '127.0.0.1:1'
    if (random.chance(0.3)) head.priority = random.pick(['high', 'normal', 'low'])
    if (random.chance(0.2)) head.attempt = random.below(4)
    if (random.chance(0.1)) head.window = random.pick(WILD_OFFSETS)
    if (random.chance(0.02)) head.more = Array(random.below(12_000)).fill(1e20)
    if (random.chance(0.1))
      head[
        random.pick([
          'id',
          'kind',
          'machine',
          'window',
          'http',
          'target',
          'priority',
          'attempt',
          'subject',
          'traceparent',
          'exec',
        ])
      ] = random.pick(WILD_VALUES)
    const type = random.chance(0.2) ? FrameType.OPEN | END_FLAG : FrameType.OPEN
    return encodeHead(
      type,
      this.#newNumber(),
      head,
      random.chance(0.4) ? random.bytes(random.below(600)) : undefined,
    )
  }

  #accept(number: number): Uint8Array {
    const random = this.#random
    const head: Record<string, unknown> = { window: 262_144 }
    if (random.chance(0.3)) head.http = { status: 200, statusText: 'OK', headers: [] }
    if (random.chance(0.1)) head.resumeMs = random.pick([0, 1, 1_000, 2 ** 47])
    if (random.chance(0.1)) head[random.pick(['window', 'http', 'resumeMs'])] = random.pick(WILD_VALUES)
    const type = random.chance(0.2) ? FrameType.ACCEPT | END_FLAG : FrameType.ACCEPT
    return encodeHead(type, number, head, random.chance(0.4) ? random.bytes(random.below(600)) : undefined)
  }

  #event(): unknown {
    const random = this.#random
    return random.pick([
      { exit: { code: 0 } },
      { exit: { signal: 'KILL' } },
      { signal: 'INT' },
      { http: { status: 200, statusText: '', headers: [] } },
      { exit: random.pick(WILD_VALUES) },
      { signal: random.pick(WILD_VALUES) },
      { http: random.pick(WILD_VALUES) },
      { text: 'y'.repeat(random.below(3_000)) },
    ])
  }

  #offsets(number: number): { received: number; limit: number; end?: number } {
    const random = this.#random
    const received = this.#received.get(number) ?? 0
    const limit = Math.max(this.#limits.get(number) ?? 262_144, received + 262_144)
    this.#limits.set(number, limit)
    const offsets: { received: number; limit: number; end?: number } = { received, limit }
    if (random.chance(0.08)) offsets.received = random.pick(WILD_OFFSETS)
    if (random.chance(0.08)) offsets.limit = random.pick(WILD_OFFSETS)
    if (random.chance(0.1)) offsets.end = random.pick(WILD_OFFSETS)
    return offsets
  }

  #window(number: number): Uint8Array {
    return encodeWindow(number, this.#offsets(number))
  }

  #resume(): unknown {
    const random = this.#random
    const resume: Record<string, unknown> = {
      id: this.#id(),
      kind: random.pick(['ssh', 'tcp']),
      machine: 'home',
      attempt: random.below(6),
      ...this.#offsets(0),
    }
    if (random.chance(0.1)) resume[random.pick(Object.keys(resume))] = random.pick(WILD_VALUES)
    return resume
  }

  #mutate(frame: Uint8Array): Uint8Array {
    const random = this.#random
    const changed = copyFrame(frame)
    const at = random.below(changed.length)
    switch (random.below(9)) {
      case 0:
        changed[at] = changed[at]! ^ (1 << random.below(8))
        return changed
      case 1:
        return changed.slice(0, at)
      case 2:
        return Buffer.concat([changed, random.bytes(1 + random.below(50))])
      case 3:
        changed[0] = random.pick(Object.values(FrameType)) | random.pick([0, 0, END_FLAG, BLOCKED_FLAG])
        return changed
      case 4:
        if (changed.length >= HEADER_BYTES)
          changed.set(u32(random.pick([0, 1, 2, 3, this.#anyNumber(), 0xffffffff])), 1)
        return changed
      case 5:
        // The length of a head, or the first bytes of an offset.
        if (changed.length >= 9)
          changed.set(u32(random.pick([0, 1, 0xffffffff, 0x7fffffff, changed.length])), 5)
        return changed
      case 6:
        if (changed.length > HEADER_BYTES) changed.set([0xff, 0xfe], Math.max(HEADER_BYTES, at - 1) - 1)
        return changed
      case 7: {
        const other = this.corpus.length > 0 ? random.pick(this.corpus) : changed
        return Buffer.concat([changed.subarray(0, at), other.subarray(random.below(other.length))])
      }
      default:
        if (random.chance(0.98)) changed.fill(random.below(256), HEADER_BYTES)
        else return Buffer.concat([changed, new Uint8Array(1_048_576)])
        return changed
    }
  }
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}
