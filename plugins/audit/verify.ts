import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'
import { fileReason } from '../../protocol/node/file-reason.ts'
import { type AuditLine, NOTHING_BEFORE, opened, sha256 } from './line.ts'

export interface Finding {
  file: string
  /** From 1. */
  line: number
  what: string
}

export interface Verdict {
  files: number
  lines: number
  /** What is not as it was written. */
  findings: Finding[]
  /** What is in order and worth knowing. */
  notes: string[]
  /** The hash of the last line, and when it was written; undefined for a trail without a line. */
  head: { hash: string; timestamp: string } | undefined
}

/** A file of the trail that the system does not show. */
export class FileUnreadable extends Error {}

interface Place {
  file: string
  line: number
}

interface Chain {
  /** The number that its next line has. */
  next: number
  hash: string
  isClosed: boolean
  /** Numbers of lines that have not come, and where the line behind them stands. */
  missing: Map<number, Place>
}

/** More findings say no more. */
const MAX_FINDINGS = 100
/** How far back a process that begins may have found another one's last line: the two write beside each other for a moment. */
const RECENT_LINES = 10_000

/** Judges the files of one trail, given the oldest first. */
class Judge {
  readonly findings: Finding[] = []
  readonly notes: string[] = []
  lines = 0
  last: AuditLine | undefined
  readonly #chains = new Map<string, Chain>()
  readonly #recent: string[] = [NOTHING_BEFORE]
  #cut: (Place & { hash: string }) | undefined

  take(text: string, place: Place): void {
    this.lines++
    const found = opened(text)
    const raw = sha256(text)
    if (found === undefined) {
      if (this.#cut !== undefined) this.#tell(this.#cut, CUT)
      this.#cut = { ...place, hash: raw }
    } else {
      const { line, isWhole } = found
      if (!isWhole) this.#tell(place, `it was changed: its hash is another one`)
      this.#follow(line, place)
      this.last = line
    }
    this.#recent.push(raw)
    if (this.#recent.length > RECENT_LINES * 2) this.#recent.splice(0, RECENT_LINES)
  }

  #follow(line: AuditLine, place: Place): void {
    const { sequence, previous, hash, event } = line
    const isClosed = event === 'audit.closed'
    const chain = this.#chains.get(line.chain)
    if (chain === undefined) {
      this.#begin(line, place)
      this.#chains.set(line.chain, { next: sequence + 1, hash, isClosed, missing: new Map() })
      return
    }
    if (sequence < chain.next) {
      const isLate = chain.missing.delete(sequence)
      this.#tell(place, isLate ? 'it stands behind lines that were written after it' : 'it is there twice')
      return
    }
    for (let number = chain.next; number < sequence && chain.missing.size < MAX_FINDINGS; number++)
      chain.missing.set(number, place)
    if (sequence === chain.next && previous !== chain.hash)
      this.#tell(place, 'it does not follow on the line before it: one of the two was changed')
    Object.assign(chain, { next: sequence + 1, hash, isClosed })
  }

  /** The first line of a process: it follows on the last one that was there. */
  #begin({ sequence, previous, event }: AuditLine, place: Place): void {
    const isFirst = this.lines === 1
    const cut = this.#cut
    this.#cut = undefined
    if (sequence > 0) {
      // The files before it may have been deleted, as the trail itself does with the oldest.
      if (isFirst && event === 'audit.rotated')
        this.notes.push(`${place.file} follows on a file that is not here`)
      else this.#tell(place, `${sequence} lines of its process are missing before it`)
    } else if (previous === cut?.hash) {
      this.notes.push(
        `${cut.file}, line ${cut.line}: cut off when its process was killed or the disk was full`,
      )
      return
    } else if (!this.#recent.includes(previous)) {
      if (isFirst) this.notes.push(`${place.file} follows on a file that is not here`)
      else this.#tell(place, 'the last line before it, of another process, is missing or was changed')
    }
    if (cut !== undefined) this.#tell(cut, CUT)
  }

  #tell({ file, line }: Place, what: string): void {
    if (this.findings.length < MAX_FINDINGS) this.findings.push({ file, line, what })
  }

  end(): void {
    if (this.#cut !== undefined) this.#tell(this.#cut, CUT)
    for (const { missing } of this.#chains.values()) {
      const counts = new Map<Place, number>()
      for (const place of missing.values()) counts.set(place, (counts.get(place) ?? 0) + 1)
      for (const [place, count] of counts)
        this.#tell(
          place,
          count === 1 ? 'a line is missing before it' : `${count} lines are missing before it`,
        )
    }
    this.findings.sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line)
    const { last } = this
    if (last !== undefined && this.#chains.get(last.chain)?.isClosed === false)
      this.notes.push(
        'the last process has not closed its trail: it runs, was killed, or lines are missing at the end',
      )
  }
}

const CUT = 'it is not a whole line: its process was killed, the disk was full, or it was cut'

/**
 * Whether the files of a trail, in any order, are as they were written.
 * @param head the hash of a line that has to be there, as kept elsewhere: what was cut off behind it is not seen without
 * @throws {FileUnreadable}
 */
export async function verifyTrail(files: readonly string[], head?: string): Promise<Verdict> {
  const judge = new Judge()
  let isHeadThere = head === undefined
  for (const file of [...files].sort(byAge)) {
    let line = 0
    for await (const text of linesOf(file)) {
      line++
      if (text === '') continue
      judge.take(text, { file, line })
      if (judge.last?.hash === head) isHeadThere = true
    }
  }
  judge.end()
  const { findings, notes, lines, last } = judge
  if (!isHeadThere) {
    const file = files.at(-1) ?? ''
    findings.push({
      file,
      line: lines,
      what: `the line with the hash ${head} is not there: lines are missing`,
    })
  }
  const end = last === undefined ? undefined : { hash: last.hash, timestamp: last.timestamp }
  return { files: files.length, lines, findings, notes, head: end }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  try {
    yield* createInterface({ input: createReadStream(file), crlfDelay: 0 })
  } catch (cause) {
    throw new FileUnreadable(`${file} cannot be read (${fileReason(cause)})`, { cause })
  }
}

/** `audit.log` is the newest; the others have their time in their names. */
function byAge(a: string, b: string): number {
  return basename(a) < basename(b) ? -1 : 1
}
