import assert from 'node:assert/strict'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Program } from '../support/process.ts'
import { seededRandom } from '../support/random.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'
import { Ground, startTarget, type Target } from './ground.ts'

const PROGRAM = fileURLToPath(new URL('./program.mjs', import.meta.url))
/** A last life is one that nobody kills. */
const LAST_LIFE_MS = 600_000

export interface CrashOptions {
  seed: number
  /** Times that the program is killed. */
  kills: number
  /** Requests that each of its lives adds. */
  perLife: number
  /** Places on the link. With one alone the order of arrival is that of acceptance. */
  maxStreams: number
  /** Where the queue is, on a disk that is small enough to be filled at random moments. */
  smallDisk?: string
}

export interface CrashReport {
  accepted: number
  executed: number
  unknown: number
  /** Refused with STORE_FAILED while the disk was full. */
  refused: number
  kills: number
}

/** What the lives have said together. */
class Ledger {
  readonly accepted = new Set<string>()
  readonly answered = new Set<string>()
  readonly failed = new Map<string, string>()

  take(line: string): void {
    const [what, name = '', code = ''] = line.split(' ')
    assert.notEqual(what, 'aside', line)
    if (what === 'accepted') this.accepted.add(name)
    if (what === 'answered') this.answered.add(name)
    if (what === 'failed' && code !== 'STILL_QUEUED') this.failed.set(name, code)
  }
}

/** Kills a program with a queue again and again, and checks that no request is lost or carried out twice. */
export async function crash(scope: Scope, options: CrashOptions): Promise<CrashReport> {
  const random = seededRandom(options.seed)
  const [target, ground] = await Promise.all([startTarget(scope), Ground.start(scope, options.maxStreams)])
  const dir = options.smallDisk ?? (await tempFolder(scope, 'crash'))
  const ledger = new Ledger()
  let kills = 0
  for (let life = 0; life <= options.kills; life++) {
    const isLast = life === options.kills
    const count = options.perLife
    const start = { url: ground.url, dir: join(dir, 'queue'), port: target.port, life, count }
    const disk = options.smallDisk === undefined || isLast ? undefined : fillAtTimes(dir, random)
    if (await live(start, target, ledger, isLast ? undefined : random)) kills++
    await disk?.()
  }
  return check(target, ledger, options, kills)
}

/** One life; true when it was killed before it was done. */
async function live(
  start: object,
  target: Target,
  ledger: Ledger,
  random: (() => number) | undefined,
): Promise<boolean> {
  let rest = ''
  let [lines, arrivals] = [0, 0]
  // After so many lines, arrivals or milliseconds: between a write, its sync, the sending and the answer.
  const kind =
    random === undefined ? undefined : (['line', 'arrival', 'time'] as const)[Math.floor(random() * 3)]
  const after = Math.floor((random?.() ?? 0) * 60)
  let timer: NodeJS.Timeout | undefined
  const killIn = (ms: number) => {
    clearTimeout(timer)
    timer = setTimeout(() => program.kill('SIGKILL'), ms)
  }
  const program = new Program(process.execPath, [PROGRAM, JSON.stringify(start)], {
    onStdout: (chunk) => {
      const parts = (rest + chunk).split('\n')
      rest = parts.pop() ?? ''
      for (const line of parts) {
        ledger.take(line)
        if (kind === 'line' && ++lines > after) program.kill('SIGKILL')
        if (kind === 'time' && line === 'connected') killIn(after * 3)
      }
    },
  })
  killIn(LAST_LIFE_MS)
  target.onArrival = () => {
    if (kind === 'arrival' && ++arrivals > after) program.kill('SIGKILL')
  }
  const { signal, code } = await program.exit
  clearTimeout(timer)
  target.onArrival = () => {}
  if (random === undefined || signal === null) assert.equal(code, 0, program.stderr)
  return signal !== null
}

/** Fills the disk and empties it, until what it returns is called. */
function fillAtTimes(dir: string, random: () => number): () => Promise<void> {
  const filler = join(dir, 'filler')
  const state = { isOver: false }
  const run = async () => {
    while (!state.isOver) {
      await new Promise((resolve) => setTimeout(resolve, 20 + random() * 80))
      // What is left of the disk, to its last byte: the write that fails is the point.
      for (let size = 1_048_576; size >= 1; size /= 2)
        await writeFile(filler, Buffer.alloc(size), { flag: 'a' }).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 20 + random() * 40))
      await rm(filler, { force: true })
    }
  }
  const over = mkdir(dir, { recursive: true }).then(run)
  return async () => {
    state.isOver = true
    await over
  }
}

function check(target: Target, ledger: Ledger, options: CrashOptions, kills: number): CrashReport {
  const { executed } = target
  const twice = [...executed].filter(([, times]) => times > 1)
  assert.deepEqual(twice, [], 'carried out twice')
  const unknown = [...ledger.failed].filter(([, code]) => code === 'OUTCOME_UNKNOWN')
  const refused = [...ledger.failed].filter(([, code]) => code === 'STORE_FAILED')
  assert.equal(
    unknown.length + refused.length,
    ledger.failed.size,
    JSON.stringify([...ledger.failed.values()]),
  )
  const lost = [...ledger.accepted].filter(
    (name) => !executed.has(name) && ledger.failed.get(name) !== 'OUTCOME_UNKNOWN',
  )
  assert.deepEqual(lost, [], 'accepted and lost')
  const isIdempotent = (name: string) => Number(name.split('-')[1]) % 2 === 0
  assert.deepEqual(
    unknown.filter(([name]) => isIdempotent(name)),
    [],
    'unknown, though it may be sent again',
  )
  const withoutEnd = [...ledger.accepted].filter(
    (name) => !ledger.answered.has(name) && !ledger.failed.has(name),
  )
  // Its last word may have been under way to us when the program was killed; it is on no disk any more.
  assert.ok(withoutEnd.length <= kills * options.maxStreams, `${withoutEnd.length} without an outcome`)
  assert.deepEqual(
    refused.filter(([name]) => executed.has(name)),
    [],
    'refused, and carried out all the same',
  )
  if (options.maxStreams === 1) {
    const order = [...executed.keys()]
    assert.deepEqual(order, [...order].sort(), 'out of order')
  }
  return {
    accepted: ledger.accepted.size,
    executed: executed.size,
    unknown: unknown.length,
    refused: refused.length,
    kills,
  }
}
