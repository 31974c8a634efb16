import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, setPriority } from 'node:os'
import { programWords } from '../../support/compiled.ts'
import { processFacts } from '../../support/proc.ts'
import type { Scope } from '../../support/scope.ts'

/** Agents for one process: so many have a link to each of the addresses. */
export interface CrowdOrder {
  urls: readonly string[]
  token: string
  /** Their machines are numbered from here on. */
  first: number
  agents: number
}

export interface CrowdReport {
  /** That stand now. */
  links: number
  /** How long each that was cut took to be back, in ms. */
  backMs: number[]
}

/** For each process: with more, one turn of its event loop takes seconds, in which none of its links is heard of. */
const AGENTS_PER_PROCESS = 500

/** Very many agents, which are real to a proxy and do nothing. */
export class Crowd {
  readonly #programs: ChildProcess[]

  /** Resolves when all have their links. */
  static async start(scope: Scope, { agents, urls, token }: Omit<CrowdOrder, 'first'>): Promise<Crowd> {
    const programs: ChildProcess[] = []
    const there: Promise<unknown>[] = []
    for (let first = 0; first < agents; first += AGENTS_PER_PROCESS) {
      const program = spawn(process.execPath, programWords('test/chaos/cluster/crowd-program.ts'), {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
      scope.after(() => program.kill('SIGKILL'))
      // They are elsewhere in life: replicas and the stream that is measured are not to wait for them.
      if (program.pid !== undefined) setPriority(program.pid, constants.priority.PRIORITY_LOW)
      programs.push(program)
      const order: CrowdOrder = { urls, token, first, agents: Math.min(AGENTS_PER_PROCESS, agents - first) }
      there.push(
        // What it is told before it listens is lost.
        once(program, 'message').then(() => {
          program.send(order)
          return once(program, 'message')
        }),
      )
    }
    await Promise.all(there)
    return new Crowd(programs)
  }

  private constructor(programs: ChildProcess[]) {
    this.#programs = programs
  }

  /** Of all its processes so far, in seconds. */
  get cpuSeconds(): number {
    return this.#programs.reduce((sum, { pid = 0 }) => sum + (processFacts(pid)?.cpuSeconds ?? 0), 0)
  }

  /** All lose their links at once, as when a network fails. */
  cut(): void {
    for (const program of this.#programs) program.send('cut')
  }

  async report(): Promise<CrowdReport> {
    const reports = await Promise.all(
      this.#programs.map(async (program) => {
        program.send('report')
        const [report] = (await once(program, 'message')) as [CrowdReport]
        return report
      }),
    )
    return {
      links: reports.reduce((sum, { links }) => sum + links, 0),
      backMs: reports.flatMap(({ backMs }) => backMs),
    }
  }
}
