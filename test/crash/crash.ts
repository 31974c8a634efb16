import assert from 'node:assert/strict'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Program } from '../support/process.ts'
import { seededRandom } from '../support/random.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'
import { Ground, startTarget, type Target } from './ground.ts'
import { Ledger } from './ledger.ts'
import type { SmallDisk } from './small-disk.ts'

const PROGRAM = fileURLToPath(new URL('./program.mjs', import.meta.url))
/** A last life is one that nobody kills. */
const LAST_LIFE_MS = 600_000
/** Of each request: accepted, answered. */
const LINES_OF_EACH = 2
/** What a request takes, about, in ms. */
const MS_OF_EACH = 3
/** How long the disk stays full where the program does not ask for anything, in ms. */
const FULL_MS = 300

export interface CrashOptions {
  seed: number
  /** Times that the program is killed. */
  kills: number
  /** Requests that each of its lives adds. */
  perLife: number
  /** Places on the link. With one alone the order of arrival is that of acceptance. */
  maxStreams: number
  /** Where the queue is; it is filled at a random moment of each life. */
  disk?: SmallDisk | undefined
}

export interface CrashReport {
  accepted: number
  executed: number
  unknown: number
  /** Refused with STORE_FAILED while the disk was full. */
  refused: number
  /** Lives that went on after that, when there was space again. */
  recovered: number
  kills: number
}

interface Life {
  /** For the program; `count` requests are to be made in it, and it waits for a line before some of them. */
  start: { count: number; waitBefore: number[] }
  target: Target
  ledger: Ledger
  /** Absent: nobody kills it. */
  random: (() => number) | undefined
  disk: SmallDisk | undefined
}

/** Kills a program with a queue again and again, and checks that no request is lost or carried out twice. */
export async function crash(scope: Scope, options: CrashOptions): Promise<CrashReport> {
  const { disk, kills: lives, perLife: count, maxStreams } = options
  const random = seededRandom(options.seed)
  const [target, ground] = await Promise.all([startTarget(scope), Ground.start(scope, maxStreams)])
  const dir = join(disk?.dir ?? (await tempFolder(scope, 'crash')), 'queue')
  const ledger = new Ledger()
  let [kills, recovered] = [0, 0]
  for (let life = 0; life <= lives; life++) {
    const isLast = life === lives
    const waitBefore = isLast && disk ? [Math.floor(count / 3), Math.floor((count * 2) / 3)] : []
    const start = { url: ground.url, dir, port: target.port, life, count, waitBefore }
    const told = await live({ start, target, ledger, random: isLast ? undefined : random, disk })
    if (told.isKilled) kills++
    if (told.hasRecovered) recovered++
  }
  const { executed } = target
  ledger.check(executed, kills * maxStreams)
  if (maxStreams === 1) {
    const order = [...executed.keys()]
    assert.deepEqual(order, [...order].sort(), 'out of order')
  }
  const unknown = ledger.failedWith('OUTCOME_UNKNOWN').length
  const refused = ledger.failedWith('STORE_FAILED').length
  return { accepted: ledger.accepted.size, executed: executed.size, unknown, refused, recovered, kills }
}

async function live(life: Life): Promise<{ isKilled: boolean; hasRecovered: boolean }> {
  const { start, target, ledger, random, disk } = life
  // After so many lines, arrivals or milliseconds: between a write, its sync, the sending and the answer.
  const kind = random && (['line', 'arrival', 'time'] as const)[Math.floor(random() * 3)]
  const share = random?.() ?? 0
  const filling = disk && new Filling(disk, random)
  let rest = ''
  let [lines, arrivals] = [0, 0]
  let timer: NodeJS.Timeout | undefined
  const killIn = (ms: number) => {
    clearTimeout(timer)
    timer = setTimeout(() => program.kill('SIGKILL'), ms)
  }
  const program = new Program(process.execPath, [PROGRAM, JSON.stringify(start)], {
    stdin: 'pipe',
    onStdout: (chunk) => {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      for (const line of parts) {
        ledger.take(line)
        filling?.saw(line)
        if (line === 'waits') program.write('\n')
        if (kind === 'line' && ++lines > share * LINES_OF_EACH * start.count) program.kill('SIGKILL')
        if (kind === 'time' && line === 'connected') killIn(share * MS_OF_EACH * start.count)
      }
    },
  })
  killIn(LAST_LIFE_MS)
  target.onArrival = () => {
    if (kind === 'arrival' && ++arrivals > share * start.count) program.kill('SIGKILL')
  }
  const { signal, code } = await program.exit
  clearTimeout(timer)
  filling?.end()
  target.onArrival = () => {}
  if (random === undefined || signal === null) assert.equal(code, 0, program.stderr)
  return { isKilled: signal !== null, hasRecovered: filling?.hasRecovered === true }
}

/**
 * One life's full disk: from a random request on, until some have been refused, and now and then from its beginning. In a
 * life that nobody kills, from the first time that the program waits until the second.
 */
class Filling {
  readonly #disk: SmallDisk
  /** Still to be accepted before the disk is full, and then to be refused before it is empty. */
  #untilFull: number
  #untilEmpty: number
  #hasRefused = false
  #isFull = false
  #timer: NodeJS.Timeout | undefined
  hasRecovered = false

  constructor(disk: SmallDisk, random: (() => number) | undefined) {
    this.#disk = disk
    this.#untilFull = random ? 1 + Math.floor(random() * 40) : Number.POSITIVE_INFINITY
    this.#untilEmpty = random ? 1 + Math.floor(random() * 4) : Number.POSITIVE_INFINITY
    if (random && random() < 0.2) this.#fillForAWhile()
  }

  saw(line: string): void {
    if (line === 'waits') {
      if (this.#isFull) this.end()
      else this.#fill()
    }
    const isRefusal = line === 'full' || line.endsWith('STORE_FAILED')
    if (line.startsWith('accepted')) {
      if (this.#hasRefused && !this.#isFull) this.hasRecovered = true
      if (--this.#untilFull === 0 && !this.#hasRefused) this.#fillForAWhile()
    } else if (isRefusal) {
      this.#hasRefused = true
      if (--this.#untilEmpty === 0) this.end()
    }
  }

  /** There is space again. */
  end(): void {
    clearTimeout(this.#timer)
    this.#disk.empty()
    this.#isFull = false
  }

  #fill(): void {
    this.#disk.fill()
    this.#isFull = true
  }

  #fillForAWhile(): void {
    this.#fill()
    this.#timer = setTimeout(() => this.end(), FULL_MS)
  }
}
