import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

/** What Linux counts CPU time in; 100 a second wherever Node runs. */
const TICKS_PER_SECOND = 100

interface ProcessFacts {
  parent: number
  /** Does not run, and starts nothing. */
  halted: boolean
  /** Ended, and not yet waited for by its parent. */
  zombie: boolean
  /** User and system time of the process and of its children that have ended, in seconds. */
  cpuSeconds: number
  residentBytes: number
}

/** One process as /proc tells it; undefined when it is gone, or where there is no /proc. */
export function processFacts(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The second field is a name in brackets that may hold anything, so count from its end.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const field = (number: number) => Number(fields[number - 3])
    const ticks = field(14) + field(15) + field(16) + field(17)
    return {
      parent: field(4),
      halted: /^[TtZX]$/.test(fields[0] ?? ''),
      zombie: fields[0] === 'Z',
      cpuSeconds: ticks / TICKS_PER_SECOND,
      residentBytes: field(24) * 4_096,
    }
  } catch {
    return undefined
  }
}

/** The most memory that a process has had at once; 0 when it is gone. */
export function peakResidentBytes(pid: number): number {
  try {
    const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
    return Number(found?.[1] ?? 0) * 1_024
  } catch {
    return 0
  }
}

/** The children of each process that has some. */
function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>()
  try {
    for (const name of readdirSync('/proc')) {
      const facts = /^\d+$/.test(name) ? processFacts(Number(name)) : undefined
      if (facts) children.set(facts.parent, [...(children.get(facts.parent) ?? []), Number(name)])
    }
  } catch {
    // no /proc
  }
  return children
}

/** All living descendants of a process, parents first. */
export function descendants(pid: number): number[] {
  const children = childrenByParent()
  const found: number[] = []
  const queue = [...(children.get(pid) ?? [])]
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    found.push(next)
    queue.push(...(children.get(next) ?? []))
  }
  return found
}

/** CPU seconds of a process and all that it started, ended or not. */
export function treeCpuSeconds(pid: number): number {
  return [pid, ...descendants(pid)].reduce((sum, each) => sum + (processFacts(each)?.cpuSeconds ?? 0), 0)
}

/** How long a process may take to halt, in ms; one in the midst of a disk access takes no signal. */
const HALT_MS = 200

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // gone already
  }
}

/**
 * SIGKILL to a process and all that it started; gives them. Each is halted before its children are looked for, or the
 * one that it starts meanwhile would live on.
 */
export function killTree(pid: number): number[] {
  const found: number[] = []
  // 0 is a program that did not start: its children would be everybody.
  for (let generation = pid > 1 ? [pid] : []; generation.length > 0; ) {
    for (const each of generation) signal(each, 'SIGSTOP')
    const deadlineMs = performance.now() + HALT_MS
    const runs = (each: number) => processFacts(each)?.halted === false
    while (generation.some(runs) && performance.now() < deadlineMs) {}
    found.push(...generation)
    const children = childrenByParent()
    generation = generation.flatMap((each) => children.get(each) ?? [])
  }
  for (const each of found) signal(each, 'SIGKILL')
  return found
}

/** Resolves when all of these have ended. Other people's children give no event, so this asks until then. */
export async function ended(pids: readonly number[], withinMs = 5_000): Promise<void> {
  const isAlive = (pid: number) => processFacts(pid)?.zombie === false
  const deadlineMs = performance.now() + withinMs
  while (pids.some(isAlive)) {
    if (performance.now() > deadlineMs) throw new Error(`still running: ${pids.filter(isAlive).join(', ')}`)
    await delay(5)
  }
}
